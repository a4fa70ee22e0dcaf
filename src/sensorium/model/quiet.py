"""transformers without its own bars and notices, while parts are read.

It draws a progress bar for every file of weights and remarks on what it did not find; people who ask a question about a
picture should see the answer only. What was set before is set again afterwards: other code may want the bars.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """Inside the block transformers draws no bars and logs errors only."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
