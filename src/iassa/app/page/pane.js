// One map: how far it is, its views, its values, and what the model says of its regions.

import { Curves } from "./curves.js";
import { address, attempt, get, number, percent, post, swap, time } from "./server.js";

const WORDS = {
  waiting: "waiting for its turn", running: "running", done: "done", stopped: "stopped",
  failed: "failed",
};
const STEP = 1 / 32; // of the image, that an arrow key moves the pointer
const LATER = 80; // milliseconds without a change of a slider, after which a region is drawn

export class Pane {
  constructor(name, run, look, point) {
    this.name = name;
    this.run = run;
    this.look = look;
    this.element = document.querySelector("#pane").content.firstElementChild.cloneNode(true);
    this.find = selector => this.element.querySelector(selector);
    this.curves = new Curves(this.find(".curves"), name);
    this.state = null;
    this.find(".below").src = address("photo.jpg") + `?${Date.now()}`;
    this.find(".stop").addEventListener("click", () => attempt(() => post("stop")));
    this.find(".more").addEventListener("click", () => this.add());
    this.find(".measure").addEventListener("click", () => this.measure());
    this.follow(this.find(".stage"), point);
  }

  remove() {
    this.element.remove();
  }

  follow(stage, point) {
    stage.addEventListener("pointermove", event => {
      const box = stage.getBoundingClientRect();
      point([(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width]);
    });
    stage.addEventListener("keydown", event => {
      const moves = {
        ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
      };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const [down, right] = moves[event.key];
      const [row, column] = this.look.place ?? [0.5, 0.5];
      point([row + STEP * down, column + STEP * right]);
    });
  }

  // What the server says of it.
  tell(state) {
    const before = this.state;
    this.state = state;
    const goesOn = state.state === "waiting" || state.state === "running";
    const error = state.map ? Math.max(...state.map.targets.map(one => one.error ?? Infinity)) : null;
    const said = [
      WORDS[state.state],
      `${state.calls} of ${state.budget} calls`,
      goesOn && state.rate ? `${state.rate.toFixed(0)} a second` : "",
      goesOn && state.left !== null ? `${time(state.left)} left` : "",
      error !== null && Number.isFinite(error) ? `error ${percent(error)} of the peak` : "",
    ];
    this.find("h2").textContent = state.method;
    this.find(".status").textContent = said.filter(Boolean).join(", ");
    const progress = this.find("progress");
    progress.max = state.budget;
    progress.value = state.calls;
    this.find(".stop").disabled = !goesOn;
    this.find(".adding").hidden = goesOn || !state.extends;
    this.find(".measure").disabled = !state.map;
    this.find(".message").textContent = state.message;
    this.find(".message").hidden = !state.message;
    for (const part of [".scale", ".scroll"]) this.find(part).classList.toggle("later", !state.map);
    const link = this.find(".download");
    link.hidden = !state.map;
    link.href = address(`${this.name}/explanation.zip`);
    this.warn(goesOn || !state.map ? [] : state.map.warnings);
    if (state.map && state.version !== before?.version) this.renew(state);
  }

  // What makes a map weak; of one that goes on it may change.
  warn(texts) {
    this.find(".notes").replaceChildren(...texts.map(text => {
      const note = document.createElement("p");
      note.className = "warning";
      note.textContent = text;
      return note;
    }));
  }

  renew({ map }) {
    const rows = map.targets.map(({ name, score, error }) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      row.append(head);
      for (const text of [number(score), percent(error)]) row.insertCell().textContent = text;
      return row;
    });
    this.find("tbody").replaceChildren(...rows);
    this.show();
    this.point();
  }

  show() {
    const { view, strength } = this.look;
    if (!this.state?.map) return;
    const parts = view === "alone" || view === "without";
    this.find(".above").style.opacity = view === "map" ? strength : 1;
    this.find(".answer").hidden = !parts;
    const target = this.state.map.targets[this.look.target];
    this.find(".scale").hidden = view !== "map" && view !== "error";
    this.find(".meaning").hidden = view !== "map";
    if (target) {
      const signed = view === "map" && this.state.map.measures === "effect";
      this.find(".low").textContent = view === "error" ? "0" : number(target.low);
      this.find(".high").textContent = number(view === "error" ? target.most : target.high);
      this.find(".meaning").textContent = signed ? "Red raises the score, blue lowers it." : "";
    }
    clearTimeout(this.waits);
    this.waits = setTimeout(() => parts ? this.ask() : this.draw(), LATER);
  }

  draw() {
    const { view, target, share } = this.look;
    const version = `target=${target}&run=${this.run}&version=${this.state.version}`;
    const of = view === "region" ? `&share=${share}` : "";
    attempt(() => swap(this.find(".above"), address(`${this.name}/${view}.png?${version}${of}`)));
    if (view === "region") return;
    attempt(() => swap(this.find(".bar"), address(`${this.name}/${view}-bar.png?${version}`)));
  }

  // Asks the model about the region: what the score is with it alone, and without it.
  async ask() {
    const { view, target, share } = this.look;
    if (!this.state?.map || (view !== "alone" && view !== "without")) return;
    const key = `${target} ${share} ${this.run} ${this.state.version}`;
    if (key !== this.asked) {
      this.asked = key;
      const found = await attempt(() => post("region", { pane: this.name, target, share }));
      if (!found || this.asked !== key) return;
      this.find(".answer").textContent = `The whole image scores ${number(found.whole)}. These`
        + ` ${Math.round(100 * share)} % alone score ${number(found.kept)}; without them it is`
        + ` ${number(found.lost)}.`;
    }
    const place = view === "alone" ? 0 : 1;
    const source = address(`${this.name}/remains-${place}.jpg?${encodeURIComponent(key)}`);
    attempt(() => swap(this.find(".above"), source));
  }

  // The value and its error under the pointer; one request at a time, the last place wins.
  async point() {
    const { place, target } = this.look;
    if (!place || !this.state?.map) return;
    const at = place.map(part => Math.min(Math.max(part, 0), 0.9999));
    this.look.place = at;
    const cross = this.find(".cross");
    cross.hidden = false;
    cross.style.top = `${100 * at[0]}%`;
    cross.style.left = `${100 * at[1]}%`;
    if (this.reading) {
      this.again = true;
      return;
    }
    this.reading = true;
    const [height, width] = this.state.map.size;
    const [row, column] = [Math.floor(at[0] * height), Math.floor(at[1] * width)];
    const found = await attempt(
      () => get(`${this.name}/value?target=${target}&row=${row}&column=${column}`),
    );
    this.reading = false;
    if (found) {
      const error = found.error === null ? "error not known" : `± ${number(found.error)}`;
      this.find(".value").textContent = `row ${row}, column ${column}: ${number(found.value)} ${error}`;
    }
    if (this.again) {
      this.again = false;
      this.point();
    }
  }

  add() {
    const calls = Number(this.find(".adding input").value);
    attempt(() => post("add", { pane: this.name, calls }));
  }

  async measure() {
    const { target } = this.look;
    const { calls, targets } = this.state.map;
    this.find(".measure").disabled = true;
    const found = await attempt(() => post("curves", { pane: this.name, target }));
    this.find(".measure").disabled = false;
    if (!found) return;
    this.find(".of").textContent = `Of ${targets[target].name}, by the map of ${calls} calls:`;
    this.curves.show(found, target);
  }
}
