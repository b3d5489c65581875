"""What every test may count on."""

import signal

# A process started in the background, as some CI runners do, inherits an ignored SIGINT: then tests of Ctrl-C, ours and
# CPython's own, would wait for ever for an interrupt that cannot come, and so would the programs they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
