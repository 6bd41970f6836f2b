// Sorts the cards. The choice is in the address, so that it is kept on the way back from a page.
const list = document.querySelector(".cards");
const buttons = [...document.querySelectorAll(".sort button")];
const before = [...list.children];

function sort(key) {
  const value = card => Number(card.dataset[key]);
  const order = (a, b) => value(a) === value(b) ? 0 : value(b) - value(a);
  list.append(...(key === buttons[0].value ? before : [...before].sort(order)));
  for (const each of buttons) each.setAttribute("aria-pressed", each.value === key);
}

function read() {
  const wanted = location.hash.slice(1);
  sort(buttons.some(each => each.value === wanted) ? wanted : buttons[0].value);
}

for (const each of buttons) {
  each.addEventListener("click", () => {
    history.replaceState(null, "", "#" + each.value);
    sort(each.value);
  });
}
addEventListener("hashchange", read);
document.querySelector(".sort").hidden = false;
if (location.hash) read();
