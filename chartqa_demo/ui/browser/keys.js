// The keyboard and the browser's Back: keys that work while no field is being written in, one Tab stop for the
// thumbnails, arrows between tabs, and a focus that stays on the page when what had it goes.
const KEYS = [
  ["/", "write a question"],
  ["R", "a random chart"],
  ["1 2 3", "go to an answer"],
  ["S", "the same question on the next chart"],
  ["G", "guess, where that comes first"],
  ["P N", "the previous, the next disagreement"],
  ["Esc", "stop answering"],
  ["← →", "another tab, another thumbnail"],
  ["?", "this list"],
];
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
const ROWS = { tab: '[role="tab"]', example: ".strip button" };
const part = (selector) => document.querySelector(selector);
const seen = (element) => Boolean(element?.getClientRects().length);

function showKeys() {
  const box = document.createElement("dialog");
  box.className = "keys";
  box.setAttribute("aria-label", "Keys");
  box.innerHTML =
    "<h2>Keys</h2><dl>" + KEYS.map(([key, told]) => `<div><dt><kbd>${key}</kbd></dt><dd>${told}</dd></div>`).join("") +
    "</dl><p>They rest while you write in a field.</p><form method=dialog><button>Close</button></form>";
  box.onclose = () => box.remove();
  part(".gradio-container").append(box);
  box.showModal();
}

const PRESSED = {
  "/": () => part("#question textarea").focus(),
  r: () => part("#random").click(),
  s: () => seen(part("#share .onward")) && part("#share .onward").click(),
  g: () => part("#guess input")?.focus(),
  p: () => part("#followed button")?.click(),
  n: () => part("#followed button + button")?.click(),
  "?": showKeys,
  Escape: () => window.stopAnswers(),
};
for (const number of [1, 2, 3])
  PRESSED[number] = () => document.querySelectorAll("#answers .card")[number - 1]?.focus();

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || part("dialog[open]")) return;
  const row = Object.values(ROWS).find((one) => event.target.matches(one));
  if (row && event.key in STEPS) {
    const all = [...document.querySelectorAll(row)].filter(seen);
    const next = all[(all.indexOf(event.target) + STEPS[event.key] + all.length) % all.length];
    if (row === ROWS.example) for (const one of all) one.tabIndex = one === next ? 0 : -1;
    next.focus();
    if (row === ROWS.tab) next.click();
    event.preventDefault();
    return;
  }
  const writing = event.target.matches("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]");
  const pressed = PRESSED[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!pressed || (writing && event.key !== "Escape")) return;
  if (event.key === "?" || seen(part(event.key === "Escape" ? "#stop" : "#workbench"))) {
    if (event.key !== "Escape" || !part("#stop").disabled) event.preventDefault();
    pressed();
  }
});
document.addEventListener("click", (event) => event.target.closest(".page-head .keys") && showKeys());

// Back from what Evaluate opened in Compare is its list again, and Forward what was opened.
addEventListener("popstate", ({ state }) => {
  const tab = [...document.querySelectorAll(ROWS.tab)].filter(seen)[state?.tab];
  tab?.click();
  if (tab && state.tab) requestAnimationFrame(() => part("#evaluation-items").scrollIntoView({ block: "nearest" }));
});

// Gradio replaces what changes. When that takes the focused element away, the nearest thing to press there gets it.
let focused, around;
document.addEventListener("focusin", (event) => {
  focused = event.target;
  around = [];
  for (let one = focused.parentElement; one; one = one.parentElement) around.push(one);
});
new MutationObserver(() => {
  if (!focused || (focused.isConnected && !focused.disabled)) return;
  const gone = focused;
  focused = null;
  if (document.activeElement !== document.body && document.activeElement !== gone) return;
  if (gone.id === "stop") return part("#ask").focus({ preventScroll: true });
  const place = around.find((one) => one.isConnected && one.id);
  const left = [...(place?.querySelectorAll("button, a, input, textarea, [tabindex='0']") ?? [])]
    .filter((one) => seen(one) && !one.disabled && one.tabIndex >= 0);
  const same = left.find((one) => gone.dataset.index && one.dataset.index === gone.dataset.index);
  (same ?? left[0])?.focus({ preventScroll: true });
}).observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["disabled"] });
