// The page: the form, the maps that it begins, and what is the same for all of them.

import { Form } from "./form.js";
import { Pane } from "./pane.js";
import * as server from "./server.js";

const find = selector => document.querySelector(selector);
const results = find("#results");
const panes = new Map();
const look = { view: "map", target: 0, strength: 1, share: 0.1, place: null };
let compared = "";

function read() {
  look.view = find("[name=view]:checked").value;
  look.target = Number(find("#target").value || 0);
  look.strength = find("#strength").value / 100;
  look.share = find("#share").value / 100;
  find("#share-is").value = find("#share").value;
}

function show() {
  read();
  for (const pane of panes.values()) pane.show();
}

function offerTargets(targets) {
  const list = find("#target");
  const names = targets.map(target => target.name);
  if (JSON.stringify(names) === list.dataset.names) return;
  list.dataset.names = JSON.stringify(names);
  list.replaceChildren(...names.map((name, k) => new Option(name, k)));
  read();
}

async function compare(state) {
  const both = state.a?.map && state.b?.map;
  const key = both ? `${state.a.run} ${state.a.version} ${state.b.version} ${look.target}` : "";
  if (key === compared) return;
  compared = key;
  if (!both) {
    find("#alike").textContent = "";
    return;
  }
  const found = await server.attempt(() => server.get(`alike?target=${look.target}`));
  if (found && compared === key) {
    find("#alike").textContent = `The two maps: rank correlation ${found.rank.toFixed(2)}; of the top`
      + ` 10 % of either, ${Math.round(100 * found.top)} % are in both.`;
  }
}

function told(state) {
  for (const [name, pane] of panes) {
    if (state[name]?.run !== pane.run) { // nothing of another run stays
      pane.remove();
      panes.delete(name);
    }
  }
  for (const [name, one] of Object.entries(state)) {
    if (!panes.has(name)) {
      panes.set(name, new Pane(name, one.run, look, point));
      find("#panes").append(panes.get(name).element);
    }
    if (one.map) offerTargets(one.map.targets);
    panes.get(name).tell(one);
  }
  if (results.hidden && panes.size) {
    results.hidden = false;
    results.scrollIntoView({ block: "nearest" }); // on a phone it is far below
  }
  results.hidden = panes.size === 0;
  compare(state);
  latest = state;
}

let latest = {};

// All maps show their values at one place, (row, column) as shares of the image.
function point(place) {
  look.place = place;
  for (const pane of panes.values()) pane.point();
}

async function begin() {
  const settings = await server.settings();
  await server.begin();
  const form = new Form(settings);
  form.element.hidden = false;
  server.listen(told, () => server.attempt(() => {
    throw new Error("The server ended, or forgot this page. Load it again.");
  }));
}

for (const input of document.querySelectorAll("#tools input")) input.addEventListener("input", show);
find("#share").addEventListener("change", () => {
  for (const pane of panes.values()) pane.ask();
});
find("#target").addEventListener("change", () => {
  show();
  compared = "";
  compare(latest);
});
server.attempt(begin);
