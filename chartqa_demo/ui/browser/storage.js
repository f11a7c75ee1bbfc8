// A browser that keeps nothing for this page (site data are blocked, as in another site's frame they can be) throws as
// soon as its stores are touched, and Gradio touches them as it begins. What is kept there then lasts as long as the tab.
for (const store of ["localStorage", "sessionStorage"]) {
  try {
    window[store].getItem("");
  } catch {
    const kept = new Map();
    const value = {
      getItem: (name) => kept.get(String(name)) ?? null,
      setItem: (name, text) => void kept.set(String(name), String(text)),
      removeItem: (name) => void kept.delete(String(name)),
      clear: () => kept.clear(),
      key: (index) => [...kept.keys()][index] ?? null,
      get length() {
        return kept.size;
      },
    };
    Object.defineProperty(window, store, { value, configurable: true });
  }
}
