"""How many examples Hypothesis tries where a test says so itself."""

import os


def examples(many: int) -> int:
    """A fifth of `many`, and twice as many where CI tries more (``HYPOTHESIS_PROFILE=thorough``)."""
    return 2 * many if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else many // 5
