// The question on the cards as one picture to pass on: chart, answers and verdicts, drawn here. Nothing is sent anywhere,
// a visitor's own chart neither; texts are drawn, so none of them can be more than text. window.STANDINGS and the entry
// come from the page, see history.js.
const WIDTH = 1200, MARGIN = 48, GAP = 24, INSET = 20;
const INK = "#0f172a", QUIET = "#475569", LINE = "#cbd5e1";
const TINTS = { good: ["#166534", "#dcfce7"], partly: ["#854d0e", "#fef3c7"], bad: ["#b91c1c", "#fee2e2"] };
const pen = document.createElement("canvas").getContext("2d");
const font = (size, weight = 400) => `${weight} ${size}px "IBM Plex Sans", system-ui, sans-serif`;

// The text as lines that are at most so wide, the last with "…" where there would be more.
function lines(text, style, width, most) {
  pen.font = style;
  const found = [""];
  for (const word of text.trim().split(/(?<=\s)/))
    for (const piece of pen.measureText(word).width > width ? word : [word])
      if (pen.measureText(found.at(-1) + piece.trimEnd()).width > width) found.push(piece);
      else found[found.length - 1] += piece;
  if (found.length > most) found.splice(most - 1, Infinity, found[most - 1].trimEnd() + "…");
  return found;
}

// What is drawn under each other in a column, and how high that is: pieces of [height, draw(x, y)].
function text(told, size, { weight, colour = INK, width, most = 8, after = 12 }) {
  const [style, high] = [font(size, weight), size * 1.4];
  const rightwards = /^[^\p{L}]*[\p{Script=Arabic}\p{Script=Hebrew}]/u.test(told);
  const all = lines(told, style, width, most);
  return [all.length * high + after, (x, y) => {
    Object.assign(pen, { font: style, fillStyle: colour, textBaseline: "top", direction: rightwards ? "rtl" : "ltr", textAlign: "start" });
    all.forEach((line, at) => pen.fillText(line, rightwards ? x + width : x, y + at * high));
  }];
}
function verdict(standing, width) {
  const [words, kind, sign] = window.STANDINGS[standing];
  const [colour, tint] = TINTS[kind];
  const [high, told] = text(window.inWords(words), 18, { weight: 700, colour, width: width - 52, after: 0 });
  return [high + 16, (x, y) => {
    box(x, y, width, high + 16, tint);
    pen.save();
    pen.translate(x + 12, y + 12);
    Object.assign(pen, { strokeStyle: colour, lineWidth: 2.2 });
    pen.stroke(new Path2D(sign));
    pen.restore();
    told(x + 38, y + 8);
  }];
}
function box(x, y, width, height, fill, line) {
  pen.beginPath();
  pen.roundRect(x, y, width, height, 10);
  pen.fillStyle = fill;
  pen.fill();
  if (line) Object.assign(pen, { strokeStyle: line, lineWidth: 1 }).stroke();
}
const heightOf = (pieces) => pieces.reduce((sum, [height]) => sum + height, 0);
const drawAll = (pieces, x, y) => pieces.forEach(([height, draw]) => (draw(x, y), (y += height)));

async function chartOf(source, width) {
  const picture = new Image();
  picture.src = source;
  if (!(await picture.decode().then(() => true, () => false))) return []; // the server has forgotten it
  const scale = Math.min(width / picture.naturalWidth, 640 / picture.naturalHeight);
  const [wide, high] = [picture.naturalWidth * scale, picture.naturalHeight * scale];
  return [[high + GAP, (x, y) => {
    box(x, y, width, high, "white");
    pen.drawImage(picture, x + (width - wide) / 2, y, wide, high);
  }]];
}

async function drawCard(entry) {
  await document.fonts.ready;
  const width = WIDTH - 2 * MARGIN;
  const told = [text(entry.question, 32, { weight: 700, width, most: 5 })];
  if (entry.gold.length) told.push(text(`${window.inWords("Gold answer")} ${entry.gold.join(" or ")}`, 20, { colour: QUIET, width, most: 2 }));
  told.push(...(await chartOf(entry.picture, width)));
  const each = (width - GAP * (entry.answers.length - 1)) / entry.answers.length;
  const inside = { width: each - 2 * INSET };
  const cards = entry.answers.map((one) => [
    text(one.title, 18, { ...inside, weight: 700, colour: QUIET }),
    text(one.error ?? one.text, 24, { ...inside, colour: one.error ? TINTS.bad[0] : INK }),
    ...(one.standing ? [verdict(one.standing, inside.width)] : []),
  ]);
  const high = Math.max(...cards.map(heightOf)) + 2 * INSET;
  const foot = text([document.title, entry.chart].join(" · "), 16, { colour: QUIET, width, most: 1, after: 0 });
  Object.assign(pen.canvas, { width: WIDTH, height: Math.ceil(2 * MARGIN + heightOf(told) + high + GAP + foot[0]) });
  pen.fillStyle = "#f8fafc";
  pen.fillRect(0, 0, WIDTH, pen.canvas.height);
  drawAll(told, MARGIN, MARGIN);
  const top = MARGIN + heightOf(told);
  cards.forEach((pieces, at) => {
    box(MARGIN + at * (each + GAP), top, each, high, "white", LINE);
    drawAll(pieces, MARGIN + at * (each + GAP) + INSET, top + INSET);
  });
  drawAll([foot], MARGIN, top + high + GAP);
  return new Promise((ready) => pen.canvas.toBlob(ready, "image/png"));
}

function save(picture) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(picture), download: "chartqa-answers.png" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-image]");
  const entry = button && window.entryShown();
  if (!entry) return;
  const picture = drawCard(entry);
  // The clipboard takes pictures in secure contexts only; elsewhere the picture is saved.
  const copies = button.dataset.image === "copy" && window.ClipboardItem && navigator.clipboard?.write;
  if (copies) await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
  else save(await picture);
  window.toldOn(button, copies ? "Copied" : "Saved");
});
