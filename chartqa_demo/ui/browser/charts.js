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

// After Ask: on a phone the answers come to the top, on a wide screen as much of them into view as can.
window.showAnswers = () => requestAnimationFrame(() => {
  const answers = document.querySelector("#answers");
  const box = answers.getBoundingClientRect();
  if (!answers.querySelector("[data-state=waiting], [data-state=running]") || box.bottom <= innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  answers.scrollIntoView({ block: box.height > innerHeight ? "start" : "end", behavior: calm ? "auto" : "smooth" });
});
