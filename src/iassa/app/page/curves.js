// The curves of building up and taking away, and the picture that the model saw at each step.

import { address, number } from "./server.js";

const [WIDTH, HEIGHT, LEFT, BELOW, EDGE] = [400, 200, 40, 20, 8];
const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

export class Curves {
  constructor(element, pane) {
    this.element = element;
    this.pane = pane;
    this.slider = element.querySelector("input");
    this.slider.addEventListener("input", () => this.step());
  }

  show(found, target) {
    this.found = found;
    this.target = target;
    this.version = Date.now();
    const scores = [...found.up.scores, ...found.down.scores];
    const [low, high] = [Math.min(0, ...scores), Math.max(...scores, 1e-12)];
    const x = share => LEFT + share * (WIDTH - LEFT - EDGE);
    const y = score => HEIGHT - BELOW - (score - low) / (high - low) * (HEIGHT - BELOW - EDGE);
    this.x = x;
    const line = way => make("polyline", {
      class: way,
      points: found.shares.map((share, k) => `${x(share)},${y(found[way].scores[k])}`).join(" "),
    });
    this.mark = make("line", { y1: EDGE, y2: HEIGHT - BELOW });
    const svg = this.element.querySelector("svg");
    svg.replaceChildren(
      make("text", { x: 2, y: y(high) + 8 }, number(high)),
      make("text", { x: 2, y: y(low) }, number(low)),
      make("text", { x: LEFT, y: HEIGHT - 4 }, "0 % of the image"),
      make("text", { x: WIDTH - EDGE, y: HEIGHT - 4, "text-anchor": "end" }, "100 %"),
      line("up"), line("down"), this.mark,
    );
    svg.setAttribute("aria-label", `Areas: building up ${number(found.up.area)}, taking away`
      + ` ${number(found.down.area)}`);
    this.slider.max = found.shares.length - 1;
    this.slider.value = Math.min(3, this.slider.max);
    this.element.hidden = false;
    this.step();
  }

  step() {
    const k = Number(this.slider.value);
    const { shares, up, down } = this.found;
    for (const end of ["x1", "x2"]) this.mark.setAttribute(end, this.x(shares[k]));
    this.element.querySelector(".at").textContent = `The most important ${Math.round(100 * shares[k])} %:`
      + ` alone ${number(up.scores[k])}, without them ${number(down.scores[k])}`;
    for (const [way, name] of ["up", "down"].entries()) {
      const source = `${this.pane}/${this.target}/step-${way}-${k}.jpg?${this.version}`;
      this.element.querySelector(`img.${name}`).src = address(source);
    }
  }
}
