// The page in the visitor's language, see ui/words: the words that Gradio's i18n brought take the place of the English
// texts as these appear, whoever wrote them. What a model or a visitor wrote stays.
const ALL = window.gradio_config?.i18n_translations ?? {};
const wished = navigator.language.split("-")[0];
const language = wished === "zh" ? "zh-CN" : wished in ALL ? wished : "en";
const THEIRS = "[dir=auto], [translate=no], #chips, .question, .answer, .gold strong, .meta strong, textarea, pre, code, script, style";
const SAID = ["aria-label", "alt", "placeholder", "title"]; // attributes that are read
const known = new Map(Object.entries(ALL[language] ?? {}));
const LONGEST = 1000; // characters of a text of the page's own
const FORMS = [["count", "([\\d,.]+)"], ["arm", "(\\w+)"], ["", "([^]+?)"]];

// "{count} answers ready" -> what it looks like, the names of its placeholders, the same in this language.
const patterns = [...known].filter(([english]) => english.includes("{")).map(([english, ours]) => {
  const names = [];
  const form = english.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(/{(\w+)}/g, (_, name) => {
    names.push(name);
    return FORMS.find(([kind]) => name.startsWith(kind))[1];
  });
  return { form: new RegExp(`^${form}(\\.?)$`), names, ours, size: english.replace(/{\w+}/g, "").length };
}).sort((one, other) => other.size - one.size);

const stop = language === "zh-CN" ? "。" : ".";

function whole(text) {
  if (known.has(text)) return known.get(text);
  if (text.endsWith(".") && known.has(text.slice(0, -1))) return known.get(text.slice(0, -1)) + stop;
  for (const { form, names, ours } of patterns) {
    const found = form.exec(text);
    if (found) return ours.replace(/{(\w+)}/g, (_, name) => {
      const value = found[1 + names.indexOf(name)];
      // The full stop of the last one has been taken for that of the whole.
      return name.startsWith("told") ? translated(value) ?? translated(`${value}.`)?.slice(0, -1) ?? value : value;
    }) + (found.at(-1) && stop);
  }
  return undefined;
}

// A text clause by clause, where it is composed of such, else whole; undefined where there are no words for all of it.
function translated(text) {
  const clauses = text.split(/(; |(?<=[.!?]) )/);
  const all = clauses.map((one, at) => (at % 2 || !/\p{L}/u.test(one) ? one : whole(one)));
  return all.includes(undefined) ? whole(text) : all.join("");
}

const before = new Map(); // texts that have been looked up
function inWords(text) {
  const trimmed = text.trim();
  if (!known.size || !trimmed) return text;
  if (!before.has(trimmed)) {
    if (before.size > 2000) before.clear();
    before.set(trimmed, trimmed.length < LONGEST && /\p{L}/u.test(trimmed) ? translated(trimmed.replace(/\s+/g, " ")) : undefined);
  }
  const told = before.get(trimmed);
  return told === undefined ? text : text.replace(trimmed, () => told);
}
window.inWords = inWords;
document.documentElement.style.setProperty("--loading", JSON.stringify(inWords("Loading the chart…"))); // for the style sheet

function say(node) {
  if (node.nodeType === Node.TEXT_NODE) {
    const told = node.parentElement?.closest(THEIRS) ? node.data : inWords(node.data);
    if (told !== node.data) node.data = told;
  } else if (node.nodeType === Node.ELEMENT_NODE)
    for (const name of SAID) {
      const text = node.getAttribute(name);
      const told = text && inWords(text);
      if (told && told !== text) node.setAttribute(name, told);
    }
}
function sayAll(root) {
  say(root);
  const inside = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  while (inside.nextNode()) say(inside.currentNode);
}
if (known.size) {
  new MutationObserver((changes) => {
    for (const { type, target, addedNodes } of changes)
      if (type === "childList") addedNodes.forEach(sayAll);
      else say(target);
  }).observe(document.documentElement, { childList: true, subtree: true, characterData: true, attributeFilter: SAID });
  sayAll(document.documentElement);
}

// The page says which language that is. For a browser in a language without words Gradio would take its own texts from
// that language, and its name: then its texts are told to be English, too. `changeLocale` is Gradio's, not public.
const root = document.documentElement;
const speak = () => {
  if (root.lang !== language) root.lang = language;
  if (root.dir !== "ltr") root.dir = "ltr";
};
if (root.lang !== language) {
  const core = performance.getEntriesByType("resource").find((one) => /\/core-[^/]+\.js$/.test(one.name));
  if (core) import(core.name).then((gradio) => gradio.changeLocale?.(language)).catch(() => {});
}
new MutationObserver(speak).observe(root, { attributeFilter: ["lang", "dir"] });
speak();
