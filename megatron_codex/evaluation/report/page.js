"use strict";
// What the page can do beyond being read: filter its samples, and save its figures. Without scripts all is shown.

const forms = document.querySelectorAll("form.filter");
for (const form of forms) {
  const samples = [...document.querySelectorAll("details.sample")];
  const texts = samples.map((sample) => sample.textContent.toLowerCase());
  const filter = () => {
    const { words, model, verdict } = form.elements;
    const wanted = words.value.toLowerCase();
    let shown = 0;
    samples.forEach((sample, index) => {
      const fits = (!model.value || sample.dataset.model === model.value)
        && (!verdict.value || sample.dataset.verdict === verdict.value) && texts[index].includes(wanted);
      sample.hidden = !fits;
      shown += fits;
    });
    form.querySelector("output").value = `${shown} of ${samples.length} shown`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
}

for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector("svg");
  const buttons = document.createElement("div");
  buttons.className = "save";
  for (const kind of ["svg", "png"]) {
    const button = document.createElement("button");
    button.textContent = kind.toUpperCase();
    button.title = `Save this figure as ${kind.toUpperCase()}`;
    button.addEventListener("click", async () => save(await drawn(svg, kind), `${fileName(svg)}.${kind}`));
    buttons.append(button);
  }
  figure.append(buttons);
}

// The figure by itself, in the colours of the page as it is now.
async function drawn(svg, kind) {
  const alone = svg.cloneNode(true);
  const { width, height } = svg.viewBox.baseVal;
  const page = getComputedStyle(document.body);
  alone.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  alone.setAttribute("width", width);
  alone.setAttribute("height", height);
  alone.setAttribute("style", `color:${page.color};background:${page.backgroundColor};font-family:sans-serif`);
  const source = new Blob([new XMLSerializer().serializeToString(alone)], { type: "image/svg+xml" });
  return kind === "svg" ? source : rasterized(source, width, height);
}

async function rasterized(source, width, height) {
  const scale = 3;
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await source.text())}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [scale * width, scale * height];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

function fileName(svg) {
  return svg.getAttribute("aria-label").toLowerCase().replace(/[^a-z0-9@.]+/g, "_").replace(/^_+|_+$/g, "");
}
