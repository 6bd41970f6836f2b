// What is to be explained: the image, the model, the targets, the method.

import { address, attempt, get, number, post } from "./server.js";

const find = selector => document.querySelector(selector);
const LATER = 150; // milliseconds without a key, after which names are searched

export class Form {
  constructor(settings) {
    this.element = find("#form");
    this.features = settings.features;
    this.compares = false;
    const fill = (list, names) => list.append(...names.map(name => new Option(name, name)));
    fill(find("#model"), settings.models);
    fill(find("#method"), settings.methods);
    fill(find("#second"), settings.methods);
    fill(find("#fill"), settings.fills);
    find("#fill").value = "grey";
    find("#calls").max = settings.most;
    this.listPlaces(settings.places);
    this.listen();
  }

  listPlaces(places) {
    find("#places").hidden = places.length === 0;
    find("#places ul").append(...places.map(({ name, kind, number: k }) => {
      const link = document.createElement("a");
      link.href = kind === "gallery" ? `galleries/${k}/index.html` : `runs/${k}`;
      link.target = "_blank";
      link.rel = "noopener";
      link.textContent = `${name} (${kind})`;
      const item = document.createElement("li");
      item.append(link);
      return item;
    }));
  }

  listen() {
    const drop = find("#drop");
    find("#file").addEventListener("change", event => this.upload(event.target.files[0]));
    find("#query").addEventListener("change", event => this.addQuery(event.target.files[0]));
    find("#drop-queries").addEventListener("click", () => this.dropQueries());
    for (const button of document.querySelectorAll("[data-example]")) {
      button.addEventListener("click", () => this.take(`image?example=${button.dataset.example}`));
    }
    addEventListener("dragover", event => {
      event.preventDefault();
      drop.classList.toggle("over", drop.contains(event.target));
    });
    addEventListener("drop", event => {
      event.preventDefault();
      drop.classList.remove("over");
      if (event.dataTransfer.files.length) this.upload(event.dataTransfer.files[0]);
    });
    find("#model").addEventListener("change", () => this.look());
    find("#add").addEventListener("click", () => this.add());
    find("#search").addEventListener("keydown", event => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.add();
    });
    find("#search").addEventListener("input", () => {
      clearTimeout(this.waits);
      this.waits = setTimeout(() => this.search(), LATER);
    });
    this.element.addEventListener("submit", event => {
      event.preventDefault();
      this.start();
    });
  }

  async upload(file) {
    if (file) await this.take(`image?name=${encodeURIComponent(file.name)}`, file);
  }

  async take(path, file) {
    const said = await attempt(() => post(path, file));
    if (!said) return;
    find("#photo").src = `${address("photo.jpg")}?${Date.now()}`;
    find("#photo").alt = `The image ${said.name}`;
    find("#about").textContent = [
      `${said.name}, ${said.size[1]} x ${said.size[0]} pixels`, ...said.warnings,
    ].join(". ");
    find("#chosen").hidden = false;
    this.size = said.size;
    await this.look();
  }

  async addQuery(file) {
    if (!file) return;
    const path = `image?compare=1&name=${encodeURIComponent(file.name)}`;
    const said = await attempt(() => post(path, file));
    if (!said) return;
    find("#queries").append(find("#queries").textContent ? `, ${said.name}` : `With ${said.name}`);
    find("#drop-queries").hidden = false;
    if (this.features && !this.compares) find("#model").value = this.features;
    this.compares = true;
    if (this.size) await this.look();
  }

  async dropQueries() {
    await attempt(() => post("drop"));
    find("#queries").textContent = "";
    find("#drop-queries").hidden = true;
    find("#query").value = "";
    this.compares = false;
    find("#model").selectedIndex = 0;
    if (this.size) await this.look();
  }

  // What the model says of the image: targets to choose from.
  async look() {
    if (!this.size) return;
    find("#start").disabled = true;
    const wish = { model: find("#model").value, compare: this.compares };
    this.element.setAttribute("aria-busy", "true");
    const seen = await attempt(() => post("look", wish));
    this.element.setAttribute("aria-busy", "false");
    find("#targets").hidden = !seen;
    if (!seen) return;
    find("#offered").replaceChildren();
    for (const [k, one] of seen.offered.entries()) this.offer(one, k === 0);
    find("#searching").hidden = this.compares || seen.offered.some(one => one.box);
    this.drawBoxes(seen.offered);
    find("#start").disabled = false;
  }

  offer({ target, name, score }, checked) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const said = document.createElement("output");
    input.type = "checkbox";
    input.value = target;
    input.checked = checked;
    input.addEventListener("change", () => this.mark());
    said.textContent = score === undefined ? "" : number(score);
    label.append(input, ` ${name} `, said);
    find("#offered").append(label);
  }

  // The boxes of a detector can be clicked; the list beside them is for keys.
  drawBoxes(offered) {
    const boxes = find("#boxes");
    boxes.setAttribute("viewBox", `0 0 ${this.size[1]} ${this.size[0]}`);
    boxes.setAttribute("preserveAspectRatio", "none");
    boxes.replaceChildren(...offered.filter(one => one.box).map(({ target, box }) => {
      const [top, left, bottom, right] = box;
      const drawn = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const places = { x: left, y: top, width: right - left, height: bottom - top };
      for (const [key, value] of Object.entries(places)) drawn.setAttribute(key, value);
      drawn.dataset.target = target;
      drawn.addEventListener("click", () => {
        const input = this.inputs().find(each => each.value === target);
        input.checked = !input.checked;
        this.mark();
      });
      return drawn;
    }));
    this.mark();
  }

  inputs() {
    return [...document.querySelectorAll("#offered input")];
  }

  mark() {
    const chosen = new Set(this.inputs().filter(each => each.checked).map(each => each.value));
    for (const drawn of document.querySelectorAll("#boxes rect")) {
      drawn.classList.toggle("chosen", chosen.has(drawn.dataset.target));
    }
  }

  // Names for the last part of what is typed, as of a group or a contrast.
  async search() {
    const text = find("#search").value;
    const [before] = text.match(/^(.*(,|\svs\s|^not\s))?\s*/i);
    const part = text.slice(before.length);
    if (part.length < 2) return;
    const found = await attempt(() => get(`classes?find=${encodeURIComponent(part)}`));
    if (!found || find("#search").value !== text) return;
    find("#names").replaceChildren(...found.names.map(name => new Option(before + name)));
  }

  add() {
    const text = find("#search").value.trim();
    if (!text) return;
    this.offer({ target: text, name: text }, true);
    find("#search").value = "";
  }

  async start() {
    const targets = this.inputs().filter(each => each.checked).map(each => each.value);
    const methods = [find("#method").value, find("#second").value].filter(Boolean);
    await attempt(() => post("start", {
      targets,
      methods,
      calls: Number(find("#calls").value),
      fill: find("#fill").value,
      seed: Number(find("#seed").value),
      tolerance: Number(find("#tolerance").value) / 100 || null,
    }));
  }
}
