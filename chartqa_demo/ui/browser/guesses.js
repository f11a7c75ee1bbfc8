// Guess first: what the visitor answers and votes for is sent when the answers are there, and kept, counted and exported
// in this browser only. Nothing that the page hides until then is in it before.
const FIRST = "chartqa-guess-first";
const GUESSES = "chartqa-guesses";
const MOST = 1000; // guesses
const NO_ROOM = "This browser has no room for more guesses: the last one is not kept. Download them, delete them here, and go on.";
const RULES = [["As ChartQA scores", ["right", "only-canonical"]], ["With format forgiven", ["right", "other-form"]]];
const part = (selector) => document.querySelector(selector);

window.guessFirst = () => localStorage.getItem(FIRST) === "yes";
window.guessing = (on) => {
  try {
    localStorage.setItem(FIRST, on ? "yes" : "no");
  } catch {} // full: it lasts as long as the page
  document.documentElement.classList.toggle("guess-first", on);
};

// --- one guess ------------------------------------------------------------------------------------------------------

let form, send, shown, waiting, sent;
window.takeGuess = (element, trigger) => {
  [form, send] = [element.querySelector("form"), trigger];
  form.addEventListener("submit", (event) => (event.preventDefault(), say("")));
  form.addEventListener("click", (event) => {
    const vote = event.target.closest("[data-best]");
    if (vote) say(vote.dataset.best, vote.matches(".show"));
  });
};

function say(best, only) {
  waiting = { guess: only ? "" : form.elements.guess.value, best };
  sendWhenReady();
}

const tell = (words) => (form.querySelector(".told").textContent = words);
function sendWhenReady() {
  if (!waiting) return;
  if (part("#answers :is([data-state=waiting], [data-state=running])")) {
    if (!form.querySelector(".told").textContent) tell("Taken. It counts when the answers are ready.");
    return;
  }
  send("select", waiting);
  [waiting, sent] = [null, shown];
}

new MutationObserver(() => {
  const entry = form && part(".asked[data-entry]") && window.entryShown();
  if (!entry) return;
  if (entry.id !== shown) {
    [shown, waiting, sent] = [entry.id, null, null];
    form.reset();
    tell("");
  }
  sendWhenReady();
  if (sent === entry.id && !entry.hidden) {
    sent = null;
    tell("");
    keepGuess(entry);
    part(".guessed")?.focus({ preventScroll: true });
  }
}).observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["data-entry"] });

// --- all guesses ----------------------------------------------------------------------------------------------------

function guesses() {
  try {
    return JSON.parse(localStorage.getItem(GUESSES)).filter(window.isEntry);
  } catch {
    return [];
  }
}

let full = false;
function keepAll(all) {
  try {
    localStorage.setItem(GUESSES, JSON.stringify(all.slice(-MOST)));
    full = false;
  } catch {
    full = true;
  }
  showScore();
}

const subject = (entry) => JSON.stringify([entry.example || entry.chart, entry.question]);
function keepGuess(entry) {
  const all = guesses();
  const guessed = entry.best || entry.answers.some((one) => one.arm === "you");
  if (!entry.done || !guessed) return;
  if (all.some((one) => subject(one) === subject(entry)))
    return part(".guessed")?.append(make("p", { textContent: "You had guessed this before: the first time counts." }));
  gone = null;
  keepAll([...all, entry]);
}

let place, gone;
window.listScore = (element) => {
  place = element;
  showScore();
};
addEventListener("storage", (event) => event.key === GUESSES && showScore());

function showScore() {
  const all = guesses();
  const standing = (entry, arm) => entry.answers.find((one) => one.arm === arm)?.standing;
  const judged = all.filter((one) => one.gold_from !== "you" && standing(one, "you"));
  const arms = new Map([["you", "You"], ...all.flatMap((one) => one.answers.map((answer) => [answer.arm, answer.title]))]);
  const counts = (passes) => [...arms.keys()].map((arm) => passes(arm).length);
  const right = RULES.map(([, good]) => counts((arm) => judged.filter((one) => good.includes(standing(one, arm)))));
  const votes = counts((arm) => all.filter((one) => one.best === arm));
  const row = (name, cells) =>
    make("tr", {}, make("th", { scope: "row", textContent: name }), ...cells.map((textContent) => make("td", { textContent })));
  const box = make("div", { className: "score" });
  if (all.length) {
    const told = judged.length ? `Right so far, of ${judged.length}:` : `Votes so far, ${all.length}:`;
    const summary = make("summary", {}, make("span", { textContent: told }));
    [...arms.values()].forEach((name, at) =>
      (judged.length || at) && summary.append(" ", make("span", {}, make("span", { textContent: name }),
        judged.length ? ` ${right[0][at]} (${right[1][at]})` : ` ${votes[at]}`)));
    const head = [...arms.values()].map((textContent) => make("th", { scope: "col", textContent }));
    box.append(make("details", { open: place.querySelector("details")?.open ?? false }, summary,
      make("table", {},
        make("thead", {}, make("tr", {}, make("td"), ...head)),
        make("tbody", {}, ...RULES.map(([name], at) => row(name, right[at])), row("Your votes for the best", ["", ...votes.slice(1)]))),
      make("p", { textContent: "In brackets: with format forgiven. A question counts once, and only with the data set's gold answer." }),
      make("p", { className: "downloads" },
        download("Download JSON", "chartqa-guesses.json", "application/json", JSON.stringify(all, null, 2)),
        download("Download CSV", "chartqa-guesses.csv", "text/csv", asCsv(all, "best")),
        make("button", { type: "button", textContent: "Delete my guesses", onclick: () => ((gone = all), keepAll([])) }))));
  } else if (gone)
    box.append("Guesses deleted. ", make("button", { type: "button", textContent: "Undo", onclick: () => keepAll(gone) }));
  else box.append("No guesses yet. They are kept in this browser.");
  if (full) box.prepend(make("p", { className: "notice", role: "alert", textContent: NO_ROOM }));
  place.replaceChildren(box);
}
