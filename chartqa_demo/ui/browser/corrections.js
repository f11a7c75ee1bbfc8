// Corrections that this browser keeps: an item of its store for each row and for each picture, so that what one tab
// keeps never overwrites what another has kept meanwhile. The server is sent all of them and answers with what changes.
const ROW = "chartqa-correction ";
const PICTURE = "chartqa-corrected ";
const named = (start) =>
  Array.from({ length: localStorage.length }, (_, at) => localStorage.key(at)).filter((name) => name.startsWith(start));
// What counts as one question is the same on the server: `one_line` in data/corrections.py.
const nameOf = (row) => `${ROW}${row.file_name} ${String(row.query).trim().split(/\s+/).join(" ")}`;

function rowIn(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null; // anything can be stored there
  }
}

function allKept() {
  const rows = named(ROW).map(rowIn).filter((row) => row && typeof row === "object");
  rows.sort((one, other) => (one.said_at === other.said_at ? other.put_at - one.put_at : one.said_at < other.said_at ? 1 : -1));
  const pictures = named(PICTURE).map((name) => [name.slice(PICTURE.length), localStorage.getItem(name)]);
  return { rows, pictures: Object.fromEntries(pictures) };
}

// The values of a listener, with all that is kept in the place of one.
window.withCorrections = (values, place) => values.map((value, at) => (at === place ? allKept() : value));

// Throws where the browser has no room; what could be kept is.
function keep(change) {
  for (const row of change.gone) localStorage.removeItem(nameOf(row));
  try {
    for (const [name, picture] of Object.entries(change.pictures)) localStorage.setItem(PICTURE + name, picture);
    for (const row of change.put) {
      const before = rowIn(nameOf(row));
      const put_at = before?.said_at === row.said_at ? before.put_at : Date.now();
      localStorage.setItem(nameOf(row), JSON.stringify({ ...row, put_at }));
    }
  } finally {
    const used = new Set(named(ROW).map((name) => PICTURE + rowIn(name)?.file_name));
    for (const name of named(PICTURE)) if (!used.has(name)) localStorage.removeItem(name);
  }
}

// What the server has changed, and what it told; returns null, so that nothing is changed twice, and what is true to
// tell. full: what to tell where the browser has no room.
window.keepCorrections = (change, told, full) => {
  try {
    if (change) keep(change);
    return [null, told];
  } catch {
    return [null, full];
  }
};

// Earlier versions kept everything in one item, which Gradio alone can read. It goes first, since a browser may have no
// room for both, and comes back where its rows cannot be kept. Returns what is to be told then.
window.moveCorrections = (old, full) => {
  const before = localStorage.getItem("chartqa-corrections");
  const put = (old?.rows ?? []).filter((row) => !localStorage.getItem(nameOf(row))).reverse();
  localStorage.removeItem("chartqa-corrections");
  try {
    keep({ put, gone: [], pictures: old?.pictures ?? {} });
    return "";
  } catch {
    keep({ put: [], gone: put, pictures: {} });
    if (before !== null) localStorage.setItem("chartqa-corrections", before);
    return full;
  }
};
