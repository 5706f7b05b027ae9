"use strict";
// Shows what /events sends. Every text is put in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const SILENT_MS = 3500; // The server sends something each second.
const WORDS = {ok: "ok", off: "off", busy: "in progress", paused: "frozen", warning: "warning", bad: "problem", unknown: "unknown"};
const LABELS = {start: "Start", switch: "Switch", stop: "Stop", freeze: "Freeze", thaw: "Thaw"};
const at = (id) => document.getElementById(id);
let session = {may_order: false, is_in: true, needs_token: false};
let stream = null;
let heardAt = 0;
let last = null;
let asked = null;

// Unlike a cookie it is of this page's port alone, and of this tab.
function guard() {
  return sessionStorage.getItem("guard") || "";
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

function make(name, classes, ...children) {
  const element = document.createElement(name);
  if (classes) element.className = classes;
  element.append(...children);
  return element;
}

function drawn(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function icon(level) {
  const svg = drawn("svg", {class: "icon", role: "img", "aria-label": WORDS[level] || level});
  svg.append(drawn("use", {href: "#i-" + level}));
  return svg;
}

// Rebuilds an element only where what it shows has changed, so that focus and selection stay.
function keep(element, value, build) {
  const key = JSON.stringify(value);
  if (element.dataset.shown === key) return;
  element.dataset.shown = key;
  const active = document.activeElement;
  const mark = element.contains(active) ? active.dataset.mark : "";
  element.replaceChildren(...build(value));
  if (mark) {
    const again = [...element.querySelectorAll("[data-mark]")].find((one) => one.dataset.mark === mark);
    if (again) again.focus();
  }
}

function state(level, word) {
  return make("span", "state " + level, icon(level), make("span", "", word));
}

function note(level, text) {
  return make("p", "note " + level, icon(level), make("span", "", text));
}

function node(one) {
  return make("li", "card" + (one.level === "bad" ? " is-bad" : ""),
    make("div", "head", make("h3", "", one.name), state(one.level, one.word)),
    make("p", "soft", (one.is_here ? "this node" : "peer") + (one.text ? ": " + one.text : "")));
}

function button(label, mark, act, spoken) {
  const one = make("button", "", label);
  one.type = "button";
  one.dataset.mark = mark;
  if (spoken) one.setAttribute("aria-label", spoken);
  one.addEventListener("click", act);
  return one;
}

function service(one) {
  const sides = make("dl", "sides");
  for (const side of one.sides) {
    sides.append(make("dt", "", side.node + " (" + side.role + ")"), make("dd", "", state(side.level, side.state)));
  }
  const card = make("li", "card" + (one.level === "bad" ? " is-bad" : ""), make("h3", "", one.name), sides);
  for (const text of one.notes) card.append(note(text.startsWith("dual run") ? "bad" : "warning", text));
  if (one.ready) card.append(note(one.ready_level, one.ready));
  if (one.takeover) card.append(make("p", "soft", one.takeover));
  if (one.reason) card.append(make("p", "soft", one.reason + (one.since ? " (since " + one.since + ")" : "")));
  const buttons = make("p", "buttons", button("Why", "why " + one.name, () => why(one.name), "Why is " + one.name + " where it is"));
  if (session.may_order) {
    for (const order of one.orders) {
      buttons.append(button(LABELS[order] + " …", order + " " + one.name, () => ask(order, one.name), LABELS[order] + " " + one.name));
    }
  }
  card.append(buttons);
  return card;
}

function seconds(value) {
  return (value < 10 ? value.toFixed(1) : value.toFixed(0)) + " s";
}

function plot(one) {
  const wide = 300, high = 60, points = one.points;
  const known = points.filter((value) => value !== null);
  const worst = known.length ? Math.max(...known) : 0;
  const top = Math.max(one.timeout_s * 1.15, Math.min(worst, one.timeout_s * 3), 0.1);
  const number = Math.round(300 / one.point_s);
  const x = (index) => wide - (points.length - 1 - index) * wide / Math.max(1, number - 1);
  const y = (value) => high - 1 - Math.min(1, value / top) * (high - 3);
  const svg = drawn("svg", {class: "plot", viewBox: "0 0 " + wide + " " + high, preserveAspectRatio: "none", role: "img"});
  const spoken = known.length
    ? "longest silence " + seconds(worst) + ", timeout " + seconds(one.timeout_s)
    : "nothing is known yet";
  svg.setAttribute("aria-label", spoken);
  svg.append(drawn("line", {class: "floor", x1: 0, x2: wide, y1: high - 1, y2: high - 1}));
  let run = [];
  const draw = () => {
    if (!run.length) return;
    const line = run.map(([px, py]) => px.toFixed(1) + " " + py.toFixed(1)).join("L");
    svg.append(drawn("path", {class: "area", d: "M" + run[0][0].toFixed(1) + " " + (high - 1) + "L" + line + "L" + run[run.length - 1][0].toFixed(1) + " " + (high - 1) + "z"}));
    svg.append(drawn("path", {class: "curve", d: "M" + line}));
    run = [];
  };
  const step = wide / Math.max(1, number - 1);
  points.forEach((value, index) => {
    if (value === null) {
      draw();
      svg.append(drawn("rect", {class: "gap", x: (x(index) - step / 2).toFixed(1), width: step.toFixed(1), y: 0, height: high - 1}));
    } else {
      run.push([x(index), y(value)]);
    }
  });
  draw();
  svg.append(drawn("line", {class: "limit", x1: 0, x2: wide, y1: y(one.timeout_s), y2: y(one.timeout_s)}));
  return [svg, make("p", "scale", make("span", "", "−5 min"), make("span", "", spoken), make("span", "", "now"))];
}

function links(all) {
  const list = at("links");
  const cards = new Map([...list.children].map((card) => [card.dataset.key, card]));
  all.forEach((one, index) => {
    let card = cards.get(one.key);
    if (!card) {
      card = make("li", "card", make("div", "head"), make("div", "figure"), make("p", "soft"));
      card.dataset.key = one.key;
    }
    cards.delete(one.key);
    card.classList.toggle("is-bad", one.level === "bad");
    keep(card.children[0], [one.title, one.direction, one.level, one.word], () =>
      [make("h3", "", one.title + " ", make("span", "soft", one.direction)), state(one.level, one.word)]);
    keep(card.children[1], [one.points, one.timeout_s], () => plot(one));
    put(card.children[2], one.text);
    if (list.children[index] !== card) list.insertBefore(card, list.children[index] || null);
  });
  for (const card of cards.values()) card.remove();
}

function path(one) {
  return make("li", "", make("b", "", one.name), make("span", "soft", one.kind + (one.text ? ": " + one.text : "")), state(one.level, one.word));
}

function job(one) {
  const level = {running: "busy", done: "ok", failed: "bad"}[one.state] || "unknown";
  return make("li", "", make("b", "", LABELS[one.order] + " " + one.service + " on " + one.node), state(level, one.state),
    make("span", "soft", one.stamp + " from " + one.by + (one.text ? "\n" + one.text : "")));
}

function events() {
  const isAlarm = at("alarms").checked, of = at("of-service").value;
  const shown = last.events.filter((one) => (!isAlarm || one.is_alarm) && (!of || one.service === of));
  keep(at("events"), shown, (all) => all.map((one) => {
    const text = make("span", "");
    if (one.is_alarm) text.append(make("span", "mark", "alarm: "));
    text.append(one.text);
    return make("li", one.is_alarm ? "alarm" : "", make("time", "", one.stamp), text);
  }));
  show(at("no-events"), !shown.length);
}

function draw(picture) {
  last = picture;
  put(at("cluster"), picture.node ? picture.node + " and " + picture.peer : "");
  put(at("clock"), picture.at);
  document.title = (picture.level === "ok" ? "" : (WORDS[picture.level] || picture.level) + ": ") + "openha " + picture.node;
  document.body.classList.toggle("is-old", picture.is_old);
  const headline = at("headline");
  headline.className = "banner " + picture.level;
  // The age in it changes each second: a reader of the screen hears the sentence once.
  keep(headline, [picture.level, picture.headline.replace(/; what is shown is .*/, ""), picture.headline.length], () =>
    [icon(picture.level), make("span", "")]);
  const spoken = headline.querySelector("span");
  put(spoken, picture.headline);
  keep(at("nodes"), picture.nodes, (all) => all.map(node));
  keep(at("services"), [picture.services, session.may_order], () =>
    picture.services.length ? picture.services.map(service) : [make("li", "card soft", "no service")]);
  links(picture.links);
  keep(at("paths"), picture.paths, (all) => all.map(path));
  const fencing = picture.fencing.length || picture.paths.length ? picture.fencing : ["no fence plan and no check-up script that fences"];
  keep(at("fencing"), fencing, (all) => all.map((text) => make("li", "", text)));
  put(at("checked"), picture.checked ? "would its services start here now? looked at " + picture.checked : "");
  const found = picture.findings.map((one) => [one.level, (one.about ? one.about + ": " : "") + one.text]);
  if (!found.length) found.push(picture.checked ? ["ok", "nothing found"] : ["unknown", "not looked at yet"]);
  keep(at("findings"), found, (all) => all.map(([level, text]) => make("li", "", note(level, text))));
  show(at("warnings-part"), picture.warnings.length > 0);
  keep(at("warnings"), picture.warnings, (all) => all.map((text) => make("li", "", note("warning", text))));
  show(at("orders-part"), session.may_order && picture.orders.length > 0);
  keep(at("orders"), picture.orders, (all) => all.map(job));
  const names = picture.services.map((one) => one.name);
  const select = at("of-service"), chosen = select.value;
  keep(select, names, () => ["", ...names].map((name) => {
    const option = make("option", "", name || "all");
    option.value = name;
    return option;
  }));
  if (select.value !== chosen && names.includes(chosen)) select.value = chosen;
  events();
}

async function call(url, body) {
  const options = {credentials: "same-origin", cache: "no-store"};
  if (body !== undefined) {
    options.method = "POST";
    options.headers = {"content-type": "application/json", "x-openha-guard": guard()};
    options.body = JSON.stringify(body);
  }
  let answer, found;
  try {
    answer = await fetch(url, options);
    found = await answer.json();
  } catch (error) {
    throw new Error("openha web does not answer");
  }
  if (!answer.ok) {
    const failure = new Error(found.error || "error " + answer.status);
    failure.status = answer.status;
    throw failure;
  }
  return found;
}

async function why(name) {
  put(at("why-title"), "Why is " + name + " where it is?");
  put(at("why-text"), "…");
  at("why").showModal();
  try {
    const found = await call("why?service=" + encodeURIComponent(name));
    put(at("why-text"), found.lines.join("\n"));
  } catch (error) {
    put(at("why-text"), error.message);
  }
}

async function ask(order, name) {
  put(at("confirm-error"), "");
  at("confirm-name").value = "";
  at("confirm-reason").value = "";
  at("confirm-yes").disabled = true;
  asked = null;
  try {
    asked = await call("orders", {order: order, service: name});
    put(at("confirm-title"), LABELS[order] + " " + asked.service + " on " + asked.node + "?");
    put(at("confirm-text"), asked.text);
    put(at("confirm-service"), asked.service);
    put(at("confirm-yes"), LABELS[order] + " " + asked.service + " on " + asked.node);
  } catch (error) {
    put(at("confirm-title"), LABELS[order] + " " + name);
    put(at("confirm-text"), "This is not possible.");
    put(at("confirm-service"), name);
    put(at("confirm-yes"), LABELS[order]);
    put(at("confirm-error"), error.message);
  }
  at("confirm").showModal();
}

async function confirmed() {
  if (!asked) return;
  at("confirm-yes").disabled = true;
  try {
    await call("orders/confirm", {number: asked.number, service: at("confirm-name").value, node: asked.node, reason: at("confirm-reason").value});
    at("confirm").close();
  } catch (error) {
    put(at("confirm-error"), error.message);
  }
  asked = null;
}

function lost(text) {
  put(at("lost"), text);
  show(at("lost"), text !== "");
  document.body.classList.toggle("is-lost", text !== "");
  document.body.classList.toggle("is-old", text !== "" || (last !== null && last.is_old));
}

function watch() {
  if (stream) stream.close();
  stream = new EventSource("events");
  stream.onmessage = (message) => {
    heardAt = Date.now();
    lost("");
    draw(JSON.parse(message.data));
  };
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) setTimeout(begin, 2000);
    lost("openha web does not answer: what is shown is as it was");
  };
}

async function begin() {
  try {
    session = await call("session");
    if (session.may_order && !guard()) session.is_in = false;
  } catch (error) {
    lost(error.message + ": what is shown is as it was");
    show(at("main"), true);
    setTimeout(begin, 2000);
    return;
  }
  show(at("login"), !session.is_in);
  show(at("main"), session.is_in);
  show(at("logout"), session.is_in && session.needs_token);
  if (session.is_in) {
    heardAt = Date.now();
    watch();
  } else {
    if (stream) stream.close();
    at("token").focus();
  }
}

at("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  put(at("login-error"), "");
  try {
    const answer = await call("login", {token: at("token").value});
    sessionStorage.setItem("guard", answer.guard);
    at("token").value = "";
    await begin();
  } catch (error) {
    put(at("login-error"), error.message);
  }
});
at("logout").addEventListener("click", async () => {
  try { await call("logout", {}); } catch (error) { lost(error.message); }
  sessionStorage.removeItem("guard");
  if (stream) stream.close();
  await begin();
});
at("confirm-name").addEventListener("input", () => {
  at("confirm-yes").disabled = !asked || at("confirm-name").value !== asked.service;
});
at("confirm-name").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !at("confirm-yes").disabled) confirmed();
});
at("confirm-no").addEventListener("click", () => at("confirm").close());
at("confirm-yes").addEventListener("click", confirmed);
at("alarms").addEventListener("change", () => last && events());
at("of-service").addEventListener("change", () => last && events());
setInterval(() => {
  if (stream && heardAt && Date.now() - heardAt > SILENT_MS) {
    lost("no news from openha web for " + Math.round((Date.now() - heardAt) / 1000) + " s: what is shown is as it was");
  }
}, 1000);
begin();
