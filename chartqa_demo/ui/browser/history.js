// What this visitor asked, in the visitor's own browser only: entries and pictures in IndexedDB, which all tabs share,
// and what one tab shows now in its session. Anything can be stored there: what has not the form of an entry is left
// out, and texts are shown as texts. window.STANDINGS come from the page: standing -> [words, class, sign].
const MOST = 50; // entries
const LARGE = 3e6; // bytes of a picture that is kept smaller
const SHOWN = "chartqa-shown";
const NO_ROOM = "This browser has no room for more questions: the last one is not kept. Delete some here, and go on.";
const find = (selector) => document.querySelector(selector);
const textOf = (selector) => find(selector)?.value ?? "";

const opened = new Promise((ready) => {
  setTimeout(ready, 5000, null); // some browsers never answer, and the page waits with what it shows first
  const asked = indexedDB.open("chartqa-side-by-side", 1);
  asked.onupgradeneeded = () => {
    asked.result.createObjectStore("entries", { keyPath: "id" });
    asked.result.createObjectStore("pictures");
  };
  asked.onsuccess = () => ready(asked.result);
  asked.onerror = () => ready(null);
}).catch(() => null);

// One request to a store, undefined where the browser keeps nothing, or not in this form. That there is no room may be
// known only after the request was granted.
let full = false;
async function stored(name, work) {
  const database = await opened;
  return database && new Promise((ready) => {
    const request = work(database.transaction(name, "readwrite").objectStore(name));
    request.onsuccess = () => ready(request.result);
    request.onerror = () => ready(undefined);
    request.transaction.onabort = () => {
      if (request.transaction.error?.name !== "QuotaExceededError") return;
      full = true;
      showHistory();
    };
    request.transaction.commit?.(); // at once, also where the page is being left
  }).catch(() => undefined);
}

const isText = (value) => typeof value === "string";
const isEntry = (one) =>
  ["id", "asked_at", "chart", "question"].every((name) => isText(one?.[name])) &&
  Array.isArray(one.gold) && one.gold.every(isText) &&
  Array.isArray(one.answers) && one.answers.every((answer) => isText(answer?.text) && isText(answer.title));

async function entries() {
  const all = ((await stored("entries", (store) => store.getAll())) ?? []).filter(isEntry);
  return all.sort((one, other) => Number(other.id) - Number(one.id));
}

const otherTabs = new BroadcastChannel("chartqa-side-by-side");
otherTabs.onmessage = () => showHistory();
function changed() {
  otherTabs.postMessage("changed");
  return showHistory();
}

// The entry comes first and for itself: the page may be left, and its picture may still be on its way.
async function keepEntry(entry) {
  await stored("entries", (store) => store.put(entry));
  const all = await entries();
  const used = new Set([find("#chart .image-frame img")?.src, ...all.slice(0, MOST).map((one) => one.picture)]);
  for (const one of all.slice(MOST)) await stored("entries", (store) => store.delete(one.id));
  const had = await isKept(entry.picture);
  await changed();
  if (!had) await keepPicture(entry.picture).then(changed);
  const pictures = (await stored("pictures", (store) => store.getAllKeys())) ?? [];
  for (const one of pictures.slice(0, -MOST)) if (!used.has(one)) await stored("pictures", (store) => store.delete(one));
}

const isKept = (source) => stored("pictures", (store) => store.getKey(source));
async function keepPicture(source) {
  if (!source || (await isKept(source))) return;
  let picture = await fetch(source).then((answer) => answer.ok && answer.blob()).catch(() => null);
  if (picture?.size > LARGE) {
    const large = await createImageBitmap(picture);
    const scale = Math.min(1, 2000 / Math.max(large.width, large.height));
    const canvas = Object.assign(document.createElement("canvas"), { width: large.width * scale, height: large.height * scale });
    canvas.getContext("2d").drawImage(large, 0, 0, canvas.width, canvas.height);
    picture = await new Promise((ready) => canvas.toBlob(ready, "image/webp", 0.9));
  }
  if (picture) await stored("pictures", (store) => store.put(picture, source));
}

// --- what this tab shows --------------------------------------------------------------------------------------------

// The entry on the cards as the page wrote it down; its answers are there when they are done.
function entryShown() {
  const written = find(".asked[data-entry]");
  return written && { ...JSON.parse(written.dataset.entry), picture: written.querySelector(".pinned").src };
}
window.entryShown = entryShown;

function keepShown() {
  const entry = entryShown();
  if (entry && !entry.done)
    entry.answers = [...document.querySelectorAll("#answers .card")].map((card) => ({
      arm: card.dataset.arm,
      text: card.querySelector(".answer")?.textContent ?? "",
    }));
  const picture = find("#chart .image-frame img")?.src;
  const { example = "", name = "" } = find("#chips .chips")?.dataset ?? {};
  const shown = { example, name, picture, entry, question: textOf("#question textarea"), gold: textOf("#gold :is(input, textarea)"), address: location.search };
  if (picture || entry || shown.question) sessionStorage.setItem(SHOWN, JSON.stringify(shown));
  else sessionStorage.removeItem(SHOWN);
}
addEventListener("pagehide", keepShown);

// A picture that the server may have forgotten goes there once more, so that it can be asked about.
async function withPicture(shown) {
  const picture = shown.picture && (await stored("pictures", (store) => store.get(shown.picture)));
  if (!picture) return shown;
  const path = await sendPicture(picture, decodeURIComponent(shown.picture.split("/").pop()));
  return path ? { ...shown, path } : shown;
}

const reopened = (entry) => ({
  ...{ example: entry.example, name: entry.chart, picture: entry.picture, entry, question: entry.question },
  gold: entry.gold_from === "you" ? entry.gold[0] : "",
});

let linked = false;
// Until the start has shown what was kept, it would take the place of a chart that was picked meanwhile; and where
// nothing seems to be, a click would meet the chart that comes.
const opening = (yes) => document.documentElement.classList.toggle("opening", yes);
opening(true);
window.started = () => {
  opening(false);
  askLinked();
};
window.askLinked = () => linked && find("#chart .image-frame img") && !find("#notice .notice") && find("#ask").click();
// What cannot be read is as good as nothing kept: the page has to open all the same.
window.keptAtStart = () => readAtStart().catch(() => ({}));
async function readAtStart() {
  const shown = JSON.parse(sessionStorage.getItem(SHOWN) ?? "null");
  const link = Object.fromEntries(new URLSearchParams(location.search));
  if (link.example && shown?.address !== location.search) {
    linked = Boolean(link.q);
    return { link };
  }
  if (shown) return withPicture(shown);
  const [newest] = await entries();
  if (!newest && !find("#workbench.sampled")) opening(false);
  return newest ? withPicture(reopened(newest)) : {};
}

// --- the list -------------------------------------------------------------------------------------------------------

function make(tag, properties = {}, ...inside) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...inside);
  return element;
}

let list, open, showing, shows = 0, gone = [];
window.listHistory = (element, trigger) => {
  [list, open] = [element, async (entry) => trigger("select", { kept: await withPicture(reopened(entry)) })];
  showHistory();
};

// The list lies below everything else of Compare.
document.addEventListener("click", (event) => {
  if (!event.target.closest(".page-head .earlier")) return;
  find('[role="tab"]').click();
  setTimeout(() => {
    find("#history").scrollIntoView();
    find("#history .question")?.focus({ preventScroll: true });
  }, 100);
});

async function remove(some) {
  [gone, full] = [some, false];
  for (const one of some) await stored("entries", (store) => store.delete(one.id));
  await changed();
  list.querySelector(".undo").focus();
}

async function bringBack() {
  for (const one of gone) await stored("entries", (store) => store.put(one));
  gone = [];
  await changed();
}

const showHistory = () => (showing = list && show(++shows));
async function show(turn) {
  const all = await entries();
  const part = make("div", { className: "history" }, make("h2", { textContent: "Your questions" }));
  if (all.length)
    part.append(
      make("p", { className: "downloads" },
        download("Download JSON", "chartqa-answers.json", "application/json", JSON.stringify(all, null, 2)),
        download("Download CSV", "chartqa-answers.csv", "text/csv", asCsv(all)),
        make("button", { type: "button", textContent: "Clear history", onclick: () => remove(all) })),
      make("ol", {}, ...(await Promise.all(all.map(itemOf)))));
  else part.append(make("p", { className: "empty", textContent: "Nothing asked yet. What you ask is kept in this browser." }));
  if (gone.length)
    part.querySelector("h2").after(make("p", { className: "done" },
      gone.length === 1 ? "One question deleted. " : `${gone.length} questions deleted. `,
      make("button", { type: "button", className: "undo", textContent: "Undo", onclick: bringBack })));
  if (full) part.querySelector("h2").after(make("p", { className: "notice", role: "alert", textContent: NO_ROOM }));
  const late = turn < shows; // of two that read at one time the first may end last
  for (const picture of (late ? part : list).querySelectorAll("img")) URL.revokeObjectURL(picture.src);
  if (late) return showing;
  list.replaceChildren(part);
}

async function itemOf(entry) {
  const picture = entry.picture && (await stored("pictures", (store) => store.get(entry.picture)));
  const gold = make("span", { className: "gold" }, "Gold answer ", make("strong", { textContent: entry.gold.join(" or ") }));
  return make("li", {},
    make("div", { className: "picture" }, ...(picture ? [make("img", { src: URL.createObjectURL(picture), alt: "" })] : [])),
    make("div", {},
      make("button", { type: "button", className: "question", dir: "auto", textContent: entry.question, onclick: () => open(entry) }),
      make("p", { className: "meta", textContent: `${entry.chart} ` }, ...(entry.gold.length ? [gold] : [])),
      make("dl", {}, ...entry.answers.map(answerOf))),
    make("button", { type: "button", className: "delete", ariaLabel: `Delete “${entry.question}”`, textContent: "Delete", onclick: () => remove([entry]) }));
}

function answerOf(answer) {
  const text = isText(answer.error) ? `Failed: ${answer.error}` : answer.text;
  const told = make("dd", {}, make("span", { dir: "auto", textContent: text }));
  const standing = window.STANDINGS[answer.standing];
  if (standing) {
    const verdict = make("span", { className: `verdict ${standing[1]}` });
    verdict.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d="${standing[2]}"/></svg>`;
    verdict.append(make("span", { textContent: standing[0] }));
    told.append(" ", verdict);
  }
  return make("div", {}, make("dt", { textContent: answer.title }), told);
}

function download(told, file, type, text) {
  return make("a", { className: "download", textContent: told, download: file, href: `data:${type};charset=utf-8,${encodeURIComponent(text)}` });
}

const COLUMNS = ["arm", "text", "correct", "reason", "tolerant", "tolerant_reason", "tokens", "first_token_s", "total_s", "error"];
// A spreadsheet would run a cell that begins like a formula; a number with a sign is left alone.
function cell(value) {
  const text = value == null ? "" : isText(value) && /^[=+\-@\t\r\n＝＋－＠]/.test(value) && isNaN(value) ? "'" + value : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
function asCsv(all, ...more) {
  const columns = [...COLUMNS, ...more];
  const rows = all.flatMap((one) => one.answers.map((answer) =>
    [one.asked_at, one.chart, one.question, one.gold.join(" or "), ...columns.map((name) => answer[name])]));
  return [["asked_at", "chart", "question", "gold", ...columns], ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
}

// --- a link, and Markdown --------------------------------------------------------------------------------------------

const linkOf = (entry) => entry.link && location.origin + location.pathname + entry.link;
const plain = (text) => text.replaceAll(/[\\`*[\]<>|~&]|(?<![\p{L}\d_])_|_(?![\p{L}\d_])/gu, "\\$&").replaceAll(/\s+/g, " "); // as `tables.plain`
const COPIES = {
  link: linkOf,
  markdown: (entry) => [
    `**${plain(entry.question)}**` + (entry.gold.length ? ` Gold answer: ${plain(entry.gold.join(" or "))}.` : ""),
    "",
    "| arm | answer | verdict |",
    "|---|---|---|",
    ...entry.answers.map((one) => `| ${plain(one.title)} | ${plain(one.error ?? one.text)} | ${window.STANDINGS[one.standing]?.[0] ?? ""} |`),
    "",
    linkOf(entry) ? `[${plain(entry.chart)}](${linkOf(entry)})` : plain(entry.chart),
  ].join("\n"),
};
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], .card button.copy");
  const answer = button?.closest(".card")?.querySelector(".answer");
  const entry = button && !answer && entryShown();
  if (answer || entry) await copyText(answer ? answer.textContent : COPIES[button.dataset.copy](entry), button);
});

// The clipboard is there in secure contexts only.
async function copyText(text, button) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    const field = make("textarea", { value: text });
    button.after(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  window.toldOn(button, "Copied");
}
window.toldOn = (button, done) => {
  const told = (button.dataset.told ??= button.textContent);
  button.textContent = done;
  setTimeout(() => (button.textContent = told), 1500);
};

// --- what comes to be kept ------------------------------------------------------------------------------------------

let last = "", picture = "";
new MutationObserver(() => {
  const source = find("#chart .image-frame img")?.src;
  if (source && source !== picture) keepPicture((picture = source));
  const written = find(".asked[data-entry]")?.dataset.entry;
  if (!written || written === last) return;
  last = written;
  const entry = entryShown();
  if (entry.done && !entry.kept && !entry.hidden) keepEntry(entry);
}).observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["src", "data-entry"] });
Object.assign(window, { isEntry, make, download, asCsv }); // for what was guessed
