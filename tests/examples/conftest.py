collect_ignore = ["app.py"]  # it reads its scenario as it is imported
