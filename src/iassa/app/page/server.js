// The server: a session of this tab, requests about it, and the stream of what changes.

const MORE_THAN = 0.0005;
let session = "";

async function answer(response) {
  if (response.ok) return response.json();
  let text = `The server answered ${response.status}.`;
  try {
    text = (await response.json()).error ?? text;
  } catch { /* it was no JSON */ }
  throw new Error(text);
}

async function request(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch {
    throw new Error("The server does not answer. It may have been ended.");
  }
  return answer(response);
}

export const settings = () => request("settings");

export async function begin() {
  session = (await request("sessions", { method: "POST" })).session;
}

export const address = path => `sessions/${session}/${path}`;
export const get = path => request(address(path));
export const post = (path, body) => request(address(path), {
  method: "POST",
  body: body instanceof Blob ? body : body === undefined ? null : JSON.stringify(body),
});

// Calls `told` with the state of the session, whenever it changes.
export function listen(told, lost) {
  const events = new EventSource(address("events"));
  events.onmessage = event => told(JSON.parse(event.data));
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) lost();
  };
}

// A picture takes the place of another one when it is there, so that nothing flickers.
export async function swap(image, source) {
  image.dataset.wanted = source;
  const next = new Image();
  next.src = source;
  try {
    await next.decode();
  } catch {
    const response = await fetch(source);
    if (image.dataset.wanted === source && !response.ok) await answer(response);
    return;
  }
  if (image.dataset.wanted === source) image.src = source;
}

export function number(value) {
  if (value === null || value === undefined) return "not known";
  const size = Math.abs(value);
  return size !== 0 && size < MORE_THAN ? value.toExponential(2) : value.toPrecision(3);
}

export function time(seconds) {
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

export const percent = share => share === null ? "not known" : `${(100 * share).toPrecision(2)} %`;

const problem = document.querySelector("#problem");

// Does something, and shows why it failed where it did.
export async function attempt(act) {
  try {
    const made = await act();
    problem.hidden = true;
    return made;
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
    problem.scrollIntoView({ block: "nearest" });
    return undefined;
  }
}
