"""A pytest plug-in that makes a skipped test a failure in CI."""

import os

import pytest


class NoSkips:
    """Counts skipped tests and turns them into a failed session."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a skipped test (an expected failure also reports as skipped)."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a module that skipped itself."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session."""
        if self.skipped and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the skipped tests."""
        for name in self.skipped:
            terminalreporter.write_line(f"skipped, which fails in CI: {name}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Register the plug-in in CI only."""
    if os.environ.get("CI"):
        config.pluginmanager.register(NoSkips(), "pawl-no-skips")
