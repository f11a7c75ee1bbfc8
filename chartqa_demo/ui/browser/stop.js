// Stop holds: what was asked before it, and begins only now, is stopped as it comes, until the visitor asks anew. So
// does another chart, whose own event can be handled before that of a question on its way.
let held = false;
window.asking = (...typed) => ((held = false), typed);
window.holdAnswers = () => (held = true);
window.stopAnswers = () => {
  held = true;
  document.querySelector("#stop").click(); // of no effect while that is disabled
};
document.addEventListener("click", (event) => event.target.closest("#stop, #random, .strip button, #history .question") && (held = true), true);
new MutationObserver((changes) => {
  for (const { target } of changes) if (held && target.id === "stop" && !target.disabled) target.click();
}).observe(document.documentElement, { subtree: true, attributeFilter: ["disabled"] });

// Gradio cancels an event also before the server has told its number, then without one, which the server refuses. What
// becomes of such an event the server decides by itself: see `Turn`.
const { fetch } = window;
window.fetch = (address, options) =>
  /\/(cancel|reset)$/.test(address) && !JSON.parse(options.body).event_id ? Promise.resolve(new Response("{}")) : fetch(address, options);
