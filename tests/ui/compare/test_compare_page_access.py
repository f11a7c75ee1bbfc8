"""The Compare page for everyone: axe, the keyboard, a phone, less motion, what a screen reader hears."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from page_fixtures import Gate, Looks, OpenTab, Tab, expect, in_looks, in_mode, looks_in_turn, replies, violations

from chartqa_demo.engines.scripted import ScriptedEngine

pytest_plugins = ("page_fixtures",)

AXE_NOISE = {
    # Gradio's upload area reads its hint ("Drop Image Here") beside another accessible name.
    "label-content-name-mismatch",
}


@in_looks
def test_axe_finds_no_violation_before_and_after_asking(tab: Tab, of: Looks) -> None:
    def found(moment: int) -> list[Any]:
        """What axe finds in these sizes and modes."""
        told = [(look, *one) for look in looks_in_turn(tab.page, of, moment) for one in violations(tab.page)]
        return [one for one in told if one[1] not in AXE_NOISE]

    assert found(0) == []
    tab.pick_example()
    tab.press("Ask")
    tab.expect_ready()
    for accordion in ("The exact prompt of each arm", "System message of the prompted arm", "Generation settings"):
        tab.unfold(accordion)
    tab.type_question("")
    tab.press("Ask")
    tab.expect_notice("Type a question")
    assert found(1) == []


def test_every_button_is_readable_under_the_pointer_too(fresh_tab: Tab) -> None:
    """Chromium draws all of them as if the pointer was there, with what they lie in and what lies in them."""
    page = fresh_tab.page
    fresh_tab.pick_example()
    fresh_tab.press("Ask")
    fresh_tab.expect_ready()
    page.evaluate(Axe().axe_script)
    session = page.context.new_cdp_session(page)
    for domain in ("DOM", "CSS"):
        session.send(f"{domain}.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    pointed_at = ":is(button, [role=button]), :is(button, [role=button]) *, :has(button, [role=button])"
    for node in session.send("DOM.querySelectorAll", {"nodeId": root, "selector": pointed_at})["nodeIds"]:
        session.send("CSS.forcePseudoState", {"nodeId": node, "forcedPseudoClasses": ["hover"]})
    assert page.get_by_role("button", disabled=False).filter(visible=True).count() > 15
    assert page.evaluate("[...document.querySelectorAll('button')].every((one) => one.matches(':hover'))")
    for theme in ("light", "dark"):
        in_mode(page, theme)
        run = "axe.run('button, [role=button]', {runOnly: ['color-contrast'], resultTypes: ['violations', 'passes']})"
        found = page.evaluate(run)
        assert [node["html"][:200] for one in found["violations"] for node in one["nodes"]] == [], theme
        assert sum(len(one["nodes"]) for one in found["passes"]) > 15


def test_the_keyboard_alone_is_enough(fresh_tab: Tab, engine: ScriptedEngine) -> None:
    engine.delay = 0.1
    engine.script = replies(*["word " * 500] * 3)
    press = fresh_tab.page.keyboard.press

    def tab_to(name: str) -> None:
        for _ in range(40):
            press("Tab")
            label = fresh_tab.page.evaluate(
                "((e) => e.ariaLabel || e.labels?.[0]?.innerText || e.querySelector('img')?.alt || e.innerText)"
                "(document.activeElement)"
            )
            if (label or "").strip().startswith(name):
                return
        raise AssertionError(f"Tab does not reach “{name}”")

    tab_to("Example chart 1")
    press("Enter")
    expect(fresh_tab.page.locator("#chart img")).to_be_visible()
    tab_to("Question")
    press("Enter")
    expect(fresh_tab.answer("Adapter")).to_contain_text("word word")
    tab_to("Ask")
    tab_to("Stop")
    press("Enter")
    expect(fresh_tab.card("Adapter")).to_contain_text("Stopped")
    assert engine.idle.wait(timeout=1)


def test_on_a_phone_the_answers_come_right_after_ask_and_into_view(calm_tab: Tab, engine: ScriptedEngine) -> None:
    engine.pace = gate = Gate()
    calm_tab.resize("phone")
    calm_tab.pick_example()
    ask = calm_tab.page.get_by_role("button", name="Ask", exact=True)
    ask.click()
    gate.let()
    expect(calm_tab.answer("Pretrained")).to_be_in_viewport()
    expect(calm_tab.page.locator("#asked")).to_be_in_viewport()
    edges = "(ask, answers) => [answers.getBoundingClientRect().top, ask.getBoundingClientRect().bottom]"
    top, bottom = ask.evaluate(
        edges, calm_tab.page.locator("#answers").element_handle()
    )  # at once: the page may scroll
    gate.open()
    calm_tab.expect_ready()
    assert 0 <= top - bottom < 60


def test_motion_stops_for_those_who_ask_for_it(open_tab: OpenTab, engine: ScriptedEngine) -> None:
    engine.pace = gate = Gate()
    tab = open_tab(reduced_motion="reduce")
    tab.pick_example()
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Pretrained")).to_have_text("No")
    animation = "element => getComputedStyle(element, '::after').animationName"
    assert tab.answer("Pretrained").evaluate(animation) == "none"
    gate.open()
    tab.expect_ready()


def test_only_states_are_announced_never_the_growing_text(tab: Tab, engine: ScriptedEngine) -> None:
    engine.pace = gate = Gate()
    tab.page.evaluate(
        """() => {
          window.heard = [];
          const live = document.querySelector("#status .html-container");
          new MutationObserver(() => heard.push(live.innerText.trim()))
            .observe(live, {subtree: true, childList: true, characterData: true});
        }"""
    )
    tab.pick_example()
    tab.press("Ask")
    gate.let()
    expect(tab.answer("Pretrained")).to_have_text("No")
    gate.open()
    tab.expect_ready()
    heard = [one for one in tab.page.evaluate("heard") if one]
    assert list(dict.fromkeys(heard)) == [
        "Waiting for the model.",
        "Answering.",
        "3 answers ready: Pretrained wrong; Prompted wrong; Adapter wrong.",
    ]
    live = tab.page.locator("[aria-live], [role=status], [role=alert], [role=log]")
    assert live.locator(".answer").count() == 0


def test_axe_finds_no_violation_in_what_opens_over_the_page(tab: Tab) -> None:
    tab.pick_example()
    for opened in (tab.page.get_by_role("button", name="Keys"), tab.page.locator("#chart img")):
        opened.click()
        for theme in ("light", "dark"):
            in_mode(tab.page, theme)
            assert violations(tab.page, "dialog") == [], theme
        tab.page.keyboard.press("Escape")
