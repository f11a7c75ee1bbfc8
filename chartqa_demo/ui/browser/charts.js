// A chart is dropped or pasted anywhere on the page. What is no picture is sent as well, for the sentence about it, and
// leaves the chart alone, as text does that is dragged. Fields take text as ever.
let send = () => {};
window.takeCharts = (notices, trigger) => {
  send = trigger;
  // A sentence about a file is seen wherever the file was dropped.
  new MutationObserver(() => notices.querySelector(".notice")?.scrollIntoView({ block: "nearest" })).observe(notices, { childList: true, subtree: true });
};
const isField = (element) => element.matches?.("input:not([type=file]), textarea, [contenteditable]");

// The file's path among the uploads, undefined where it was not taken.
window.sendPicture = async (file, name) => {
  const form = new FormData();
  form.append("files", file, name);
  const sent = await fetch("gradio_api/upload", { method: "POST", body: form }).catch(() => null);
  return sent?.ok ? (await sent.json())[0] : undefined;
};

// A visitor's own picture: the question that the sampled chart before it brought goes with that, what the visitor wrote
// stays, and so does a gold answer that was written before there was a chart.
let brought = [];
const sampled = () =>
  [...document.querySelectorAll('#chips .chips:not([data-example=""]) button')].map((one) => one.textContent.trim());
window.leftOf = (question, gold, removed) => {
  window.holdAnswers();
  return [sampled().includes(question.trim()) ? "" : question, removed || sampled().length ? "" : gold];
};
window.leftOfTaken = (question) => !sampled().length && brought.includes(question.trim()) ? "" : question;

async function take(file) {
  const path = await sendPicture(file, file.name || "pasted.png");
  brought = sampled();
  // Two events: what is no picture does not end the question that is being answered.
  const picture = path && /^image\/(?!svg)|^$/.test(file.type);
  if (picture) window.holdAnswers();
  send(picture ? "upload" : "edit", { path: path ?? "", name: file.name, size: file.size });
}

function takeOver(event, file) {
  event.preventDefault();
  event.stopImmediatePropagation();
  if (file) take(file);
}

for (const kind of ["dragenter", "dragover", "drop"])
  addEventListener(kind, (event) => {
    const [file] = event.dataTransfer?.files ?? [];
    if (!document.querySelector("#workbench")?.getClientRects().length) return;
    if (!event.dataTransfer?.types.includes("Files") && isField(event.target)) return;
    takeOver(event, kind === "drop" && file);
  }, true);
addEventListener("paste", (event) => {
  const [file] = event.clipboardData?.files ?? [];
  if (file && document.querySelector("#workbench")?.getClientRects().length) takeOver(event, file);
}, true);
addEventListener("change", (event) => {
  const [file] = event.target.closest?.("#chart input[type=file]")?.files ?? [];
  if (file && !file.type.startsWith("image/")) takeOver(event, file);
}, true);

// Gradio's own upload button under a chart would only take the chart away, so it is ours while there is one.
addEventListener("click", (event) => {
  const icon = event.target.closest?.("#chart [data-testid=source-select] button:first-child");
  if (!event.target.closest?.("[data-own-chart]") && !(icon && document.querySelector("#chart .image-frame img"))) return;
  event.stopImmediatePropagation();
  const chooser = Object.assign(document.createElement("input"), { type: "file", accept: "image/*" });
  chooser.onchange = () => chooser.files[0] && take(chooser.files[0]);
  chooser.click();
}, true);

// A chart, larger: a click on it opens it over the page, a click there shows its own pixels twice as large.
document.addEventListener("click", (event) => {
  const chart = event.target.closest("#chart .image-frame img, .asked .pinned, #evaluation-chart img");
  if (!chart) return;
  const box = document.createElement("dialog");
  const picture = new Image();
  const close = document.createElement("button");
  box.className = "zoom";
  box.setAttribute("aria-label", "The chart, enlarged");
  picture.src = chart.src;
  picture.alt = "The chart, enlarged";
  picture.onclick = () => box.classList.toggle("large");
  close.textContent = "Close";
  close.onclick = () => box.close();
  box.onclick = (click) => click.target === box && box.close();
  box.onclose = () => box.remove();
  box.append(picture, close);
  document.querySelector(".gradio-container").append(box);
  box.showModal();
});

// After another chart was picked it is seen together with its question; on a phone its answers, where it has some.
window.showChart = () => requestAnimationFrame(() => {
  const answered = innerWidth < 1024 && document.querySelector("#answers .answer");
  const boxes = ["#chart", "#question", "#ask"].map((one) => document.querySelector(one).getBoundingClientRect());
  if (answered || boxes.some((one) => one.top < 0 || one.bottom > innerHeight))
    document.querySelector(answered ? "#answers" : "#workbench").scrollIntoView();
});

// After Ask: on a phone the answers come to the top, on a wide screen as much of them into view as can.
window.showAnswers = () => requestAnimationFrame(() => {
  const answers = document.querySelector("#answers");
  const box = answers.getBoundingClientRect();
  if (!answers.querySelector("[data-state=waiting], [data-state=running]") || box.bottom <= innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  answers.scrollIntoView({ block: box.height > innerHeight ? "start" : "end", behavior: calm ? "auto" : "smooth" });
});
