// Steps through a graph: first the forward pass, then the backward pass. Without it the page reads on.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const graph = document.querySelector("svg.graph");
  const control = document.querySelector(".steps");
  if (!data || !data.steps || !graph || !control) return;
  const steps = data.steps;
  const nodes = new Map([...graph.querySelectorAll(".node")].map((n) => [n.dataset.name, n]));
  const edges = [...graph.querySelectorAll(".edge")];
  const slider = control.querySelector("input");
  const say = document.querySelector("[aria-live]");
  const panel = document.querySelector(".panel");
  let at = 0;
  let timer = null;

  const line = (name, text) => {
    if (!text) return [];
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = text;
    return [dt, dd];
  };

  const show = (k, move) => {
    at = Math.max(0, Math.min(steps.length - 1, k));
    const step = steps[at];
    nodes.forEach((n) => n.classList.remove("now", "read", "forward", "backward"));
    steps.slice(0, at + 1).forEach((s) => nodes.get(s.node)?.classList.add(s.pass));
    step.reads.forEach((name) => nodes.get(name)?.classList.add("read"));
    const here = nodes.get(step.node);
    here?.classList.add("now");
    edges.forEach((e) => {
      const into = step.pass === "forward" && e.dataset.to === step.node;
      const out = step.pass === "backward" && e.dataset.from === step.node;
      e.classList.toggle("flow", into);
      e.classList.toggle("back", out);
    });
    slider.value = at;
    const place = `${step.pass} ${step.number} of ${step.count}`;
    slider.setAttribute("aria-valuetext", `${place}: ${step.name}`);
    control.querySelector("output").textContent = place;
    panel.querySelector("h3").textContent = `${step.name} = ${step.formula}`;
    panel.querySelector("dl").replaceChildren(
      ...line("value", step.value), ...line("shape", step.shape), ...line("reads", step.depends),
      ...line("line", step.line), ...line("flops", step.flops), ...line("against differences", step.check));
    say.textContent = `${place}. ${step.name} equals ${step.formula}.`;
    document.querySelectorAll("tr.now").forEach((r) => r.classList.remove("now"));
    document.getElementById(step.row)?.classList.add("now");
    if (move) here?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };

  const stop = () => {
    clearInterval(timer);
    timer = null;
    control.querySelector("[data-do=play]").textContent = "Play";
  };
  const actions = {
    first: () => show(0, true),
    back: () => show(at - 1, true),
    next: () => show(at + 1, true),
    last: () => show(steps.length - 1, true),
    play: (button) => {
      if (timer) return stop();
      button.textContent = "Pause";
      timer = setInterval(() => (at < steps.length - 1 ? show(at + 1, true) : stop()), 1200);
    },
  };
  control.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.do !== "play") stop();
    actions[button.dataset.do](button);
  });
  slider.max = steps.length - 1;
  slider.addEventListener("input", () => { stop(); show(Number(slider.value), true); });

  // One stop of the tabulator for the graph; arrows follow its edges.
  const focus = (node) => {
    nodes.forEach((n) => n.setAttribute("tabindex", "-1"));
    node.setAttribute("tabindex", "0");
    node.focus();
  };
  const neighbour = (name, key) => {
    const down = key === "ArrowDown";
    const found = edges.find((e) => (down ? e.dataset.from : e.dataset.to) === name);
    return found && (down ? found.dataset.to : found.dataset.from);
  };
  const order = [...nodes.keys()];
  graph.addEventListener("keydown", (event) => {
    const name = event.target.closest(".node")?.dataset.name;
    if (!name) return;
    const i = order.indexOf(name);
    const to = { ArrowLeft: order[i - 1], ArrowRight: order[i + 1], Home: order[0], End: order.at(-1),
      ArrowDown: neighbour(name, event.key), ArrowUp: neighbour(name, event.key) }[event.key];
    if (event.key === "Enter" || event.key === " ") pick(name);
    else if (event.key === "Escape") control.querySelector("button").focus();
    else if (to) focus(nodes.get(to));
    else return;
    event.preventDefault();
  });
  const pick = (name) => {
    const ahead = [...steps.keys()].filter((k) => steps[k].node === name);
    if (ahead.length) { stop(); show(ahead.find((k) => k > at) ?? ahead[0], false); }
  };
  graph.addEventListener("click", (event) => {
    const node = event.target.closest(".node");
    if (node) pick(node.dataset.name);
  });
  nodes.values().next().value?.setAttribute("tabindex", "0");

  const colour = control.querySelector("select");
  colour?.addEventListener("change", () => {
    const weights = data.colours[colour.value] || {};
    const logs = Object.values(weights).filter((w) => w > 0).map(Math.log10);
    const low = Math.min(...logs);
    const high = Math.max(...logs);
    nodes.forEach((node, name) => {
      const w = weights[name];
      const share = w > 0 ? (high > low ? 0.1 + (0.75 * (Math.log10(w) - low)) / (high - low) : 0.5) : 0;
      node.querySelector("rect").style.fill = colour.value
        ? `color-mix(in srgb, var(--backward) ${Math.round(100 * share)}%, var(--ground))` : "";
    });
  });
  show(0, false);
})();
