"""The watch itself: each kind of fault that a page can have is noticed, or the other tests would prove nothing by passing."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.browser.watching import Watch
from tests.picky.node import PickyNode

OF_THE_PAGE = {
    "console.error('a slip')": "console error: a slip",
    "console.warn('a doubt')": "console warning: a doubt",
    "void setTimeout(() => { throw new Error('a bug') })": "a bug",
    "void Promise.reject(new Error('a rejection'))": "a rejection",
    "document.body.setAttribute('style', 'color: red')": "Content Security Policy",
    "void fetch('http://elsewhere.invalid/').catch(() => 0)": "Content Security Policy",
    "void setTimeout(() => { document.body.innerHTML = '<p>' })": "TrustedHTML",
    "void setTimeout(() => alert('a question'))": "dialog of the browser: a question",
    "void fetch('/no/such/path')": "failed: 404 GET /no/such/path",
}


def notices(context: BrowserContext, url: str, script: str, fault: str) -> bool:
    """Run a script in a page, and tell whether a fault is noticed soon."""
    watch = Watch(context, url)
    page = context.new_page()
    page.goto(url)
    page.evaluate(script)
    for _ in range(1000):  # turns of the page, each of which lets events come
        if any(fault in found for found in watch.faults):
            with pytest.raises(AssertionError):
                watch.check()
            return True
        page.evaluate("new Promise(done => setTimeout(done))")
    return False


@pytest.mark.parametrize(("script", "fault"), OF_THE_PAGE.items(), ids=OF_THE_PAGE)
def test_a_fault_of_a_page_is_noticed(browser: Browser, node: PickyNode, script: str, fault: str) -> None:
    """What is said in the console, raised, forbidden by the policy, asked by a dialog or refused by the node is a fault."""
    with browser.new_context() as context:
        assert notices(context, node.url, script, fault)


def test_a_request_to_another_host_is_noticed(browser: Browser, node: PickyNode) -> None:
    """It is noticed by itself, also where no policy stands in its way."""
    script, fault = (
        "void fetch('http://elsewhere.invalid/').catch(() => 0)",
        "request to another host: http://elsewhere.invalid/",
    )
    with browser.new_context(bypass_csp=True) as context:
        assert notices(context, node.url, script, fault)


def test_an_expected_failure_has_to_come(browser: Browser, node: PickyNode) -> None:
    """A test that provokes nothing can expect nothing."""
    with browser.new_context() as context:
        watch = Watch(context, node.url)
        watch.expect("404 GET /no/such/path")
        page = context.new_page()
        page.goto(node.url)
        with pytest.raises(AssertionError, match="did not come"):
            watch.check()
        page.evaluate("fetch('/no/such/path').then(() => null)")
        watch.check()
