"""The web console in a real browser.

A package, unlike the other folders of tests, since the browser is one for a package: Playwright's event loop is in the way of
asynchronous tests for as long as it is open, so it ends with the last test here.
"""
