"""One HTML file that says what a run scored, how sure that is, and shows what was asked, seen, said and understood.

    make_report(Path("runs/a"), Path("runs/b"), Sources(data)).write(Path("report.html"))

The file needs nothing: no network, no other file, no script to be read. It is for a run of a benchmark or of our own
scenes, and for two runs side by side.
"""

from sensorium.evaluation.report_page.choosing import ORDERS
from sensorium.evaluation.report_page.page import Choice, Report, Sources, make_report

__all__ = ["ORDERS", "Choice", "Report", "Sources", "make_report"]
