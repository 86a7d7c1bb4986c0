"use strict";
// Texts of the pool reach the page by textContent alone.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const place = (id) => document.getElementById(id);
  const key = `apportion-labels:${data.rater}:${data.export}`;
  const speakers = { user: "User", assistant: "Assistant", system: "System" };
  const empty = (task) => ({
    ranks: task.responses.map(() => null), cannot_judge: false, note: "", seconds: 0, at: "",
  });
  const state = { at: 0, answers: {} };
  const past = []; // [task, its answer before], for undo
  let marked = 0, cards = [], since = performance.now(), keeps = true;

  const task = () => data.tasks[state.at];
  const answer = () => (state.answers[task().id] ??= empty(task()));
  const answered = (each) => {
    const found = state.answers[each.id];
    return Boolean(found) && (found.cannot_judge || found.ranks.every((rank) => rank !== null));
  };
  const say = (text) => { place("status").textContent = text; };

  function restore() {
    try {
      const found = JSON.parse(localStorage.getItem(key) ?? "null");
      if (found) Object.assign(state, found);
    } catch {
      keeps = false;
    }
    state.at = Math.min(Math.max(state.at, 0), data.tasks.length - 1);
  }

  function keep() {
    try {
      localStorage.setItem(key, JSON.stringify(state));
      keeps = true;
    } catch {
      keeps = false;
      say("This browser keeps nothing: export before you close the page.");
    }
  }

  // Only time during which the page is in view counts.
  function clock() {
    const now = performance.now();
    if (document.visibilityState === "visible") answer().seconds += (now - since) / 1000;
    since = now;
  }

  function change(apply) {
    clock();
    past.push([task().id, structuredClone(answer())]);
    if (past.length > 500) past.shift();
    apply(answer());
    answer().at = new Date().toISOString();
    keep();
    paint();
  }

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function card(text, number) {
    const item = element("li", "response");
    item.tabIndex = -1;
    item.setAttribute("role", "group");
    const name = `Response ${number + 1}`;
    item.setAttribute("aria-label", name);
    const bar = element("div", "bar"), grip = element("span", "grip", "\u2630");
    grip.draggable = true;
    grip.title = "Drag to rank";
    grip.setAttribute("aria-hidden", "true");
    const select = element("select");
    select.setAttribute("aria-label", `Rank of ${name}`);
    select.append(new Option("no rank", ""));
    for (let rank = 1; rank <= task().responses.length; rank++) select.append(new Option(`rank ${rank}`, rank));
    select.addEventListener("change", () => setRank(number, select.value ? Number(select.value) : null));
    bar.append(grip, element("span", "name", name), select);
    const body = element("div", "text", text);
    body.dir = "auto";
    body.tabIndex = 0;
    body.setAttribute("role", "region");
    body.setAttribute("aria-label", `Text of ${name}`);
    item.append(bar, body);
    item.addEventListener("focusin", () => mark(number, false));
    item.addEventListener("click", () => mark(number, false));
    dragging(item, grip, number);
    return { item, select };
  }

  // Above or below another: all ranks follow from the new order. Onto its middle: a tie with it.
  function dragging(item, grip, number) {
    const clear = () => item.classList.remove("above", "below", "tie");
    const where = (event) => {
      const box = item.getBoundingClientRect(), share = (event.clientY - box.top) / box.height;
      return share < 0.3 ? "above" : share > 0.7 ? "below" : "tie";
    };
    grip.addEventListener("dragstart", (event) => {
      event.dataTransfer.setData("text/plain", String(number));
      event.dataTransfer.setDragImage(item, 0, 0);
    });
    item.addEventListener("dragover", (event) => {
      event.preventDefault();
      clear();
      item.classList.add(where(event));
    });
    item.addEventListener("dragleave", clear);
    item.addEventListener("drop", (event) => {
      event.preventDefault();
      clear();
      const moved = Number(event.dataTransfer.getData("text/plain"));
      if (Number.isInteger(moved) && moved !== number && cards[moved]) drop(moved, number, where(event));
    });
  }

  function drop(moved, onto, side) {
    change((found) => {
      const groups = grouped(found.ranks).map((group) => group.filter((each) => each !== moved));
      const index = groups.findIndex((group) => group.includes(onto));
      if (side === "tie") groups[index].push(moved);
      else groups.splice(side === "above" ? index : index + 1, 0, [moved]);
      groups.filter((group) => group.length).forEach((group, rank) => {
        for (const each of group) found.ranks[each] = rank + 1;
      });
      found.cannot_judge = false;
    });
    mark(moved, true);
  }

  // Places by rank, the best first; those without a rank follow one by one, as they are shown.
  function grouped(ranks) {
    const levels = [...new Set(ranks.filter((rank) => rank !== null))].sort((a, b) => a - b);
    const placed = levels.map((level) => ranks.flatMap((rank, each) => (rank === level ? [each] : [])));
    return [...placed, ...ranks.flatMap((rank, each) => (rank === null ? [[each]] : []))];
  }

  function setRank(number, rank) {
    change((found) => {
      found.ranks[number] = rank;
      found.cannot_judge = false;
    });
    say(rank === null ? `Response ${number + 1} has no rank` : `Response ${number + 1}: rank ${rank}`);
  }

  function mark(number, focus) {
    marked = number;
    cards.forEach(({ item }, each) => item.classList.toggle("marked", each === marked));
    if (focus) cards[marked].item.focus();
  }

  // The first response without a rank, or `otherwise`.
  function markOpen(otherwise) {
    const open = answer().ranks.findIndex((each) => each === null);
    mark(open === -1 ? otherwise : open, true);
  }

  function rankMarked(rank) {
    if (rank > task().responses.length) return say(`There are ${task().responses.length} responses.`);
    setRank(marked, rank);
    markOpen(marked);
  }

  function show() {
    const turns = task().prompt;
    place("prompt").replaceChildren(...turns.flatMap((turn) => {
      const words = element("div", "", turn.content);
      words.dir = "auto";
      return turns.length > 1 ? [element("p", "speaker", speakers[turn.role] ?? turn.role), words] : [words];
    }));
    place("prompt").scrollTop = 0;
    cards = task().responses.map(card);
    place("responses").replaceChildren(...cards.map(({ item }) => item));
    since = performance.now();
    paint();
    markOpen(0);
  }

  function paint() {
    const found = answer(), done = data.tasks.filter(answered).length;
    cards.forEach(({ select }, each) => { select.value = found.ranks[each] ?? ""; });
    place("unable").checked = found.cannot_judge;
    if (place("note").value !== found.note) place("note").value = found.note;
    place("done").max = data.tasks.length;
    place("done").value = done;
    place("count").textContent = `${done} of ${data.tasks.length} done; this is task ${state.at + 1}`;
    place("undo").disabled = past.length === 0;
    place("previous").disabled = state.at === 0;
  }

  function go(to) {
    clock();
    state.at = Math.min(Math.max(to, 0), data.tasks.length - 1);
    keep();
    show();
  }

  function next() {
    if (!answered(task())) return say("Some responses have no rank yet: rank them, or press X if you cannot judge.");
    if (state.at + 1 < data.tasks.length) {
      go(state.at + 1);
      return say(`Task ${state.at + 1}`);
    }
    const open = data.tasks.filter((each) => !answered(each)).length;
    say(open ? `That was the last task; ${open} are open (O goes to the first).` : "All tasks are done: press E to export.");
  }

  function undo() {
    const last = past.pop();
    if (!last) return say("Nothing to undo");
    const [id, before] = last;
    state.answers[id] = before;
    go(data.tasks.findIndex((each) => each.id === id));
    say("Undone");
  }

  function exported() {
    clock();
    keep();
    const ratings = data.tasks.filter((each) => state.answers[each.id]?.at).map((each) => {
      const found = state.answers[each.id];
      return { task: each.id, ...found, seconds: Math.round(found.seconds * 1000) / 1000 };
    });
    return { format: "apportion-labels", version: 1, rater: data.rater, export: data.export, ratings };
  }

  function download() {
    const file = new Blob([JSON.stringify(exported(), null, 1)], { type: "application/json" });
    const link = element("a");
    link.href = URL.createObjectURL(file);
    link.download = `${data.rater}-labels.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Exported ${exported().ratings.length} answers to ${link.download}`);
  }

  const keys = {
    Enter: next, p: () => go(state.at - 1), u: undo, e: download, n: () => place("note").focus(),
    o: () => go(Math.max(data.tasks.findIndex((each) => !answered(each)), 0)),
    x: () => change((found) => { found.cannot_judge = !found.cannot_judge; }),
    ArrowDown: () => mark((marked + 1) % cards.length, true),
    ArrowUp: () => mark((marked + cards.length - 1) % cards.length, true),
    Backspace: () => setRank(marked, null),
  };

  document.addEventListener("keydown", (event) => {
    const from = event.target;
    if (event.key === "Escape" && from === place("note")) return mark(marked, true);
    if (event.ctrlKey || event.metaKey || event.altKey || /^(TEXTAREA|SELECT)$/.test(from.tagName)) return;
    if (event.key === "Enter" && /^(BUTTON|SUMMARY)$/.test(from.tagName)) return;
    const arrow = event.key.startsWith("Arrow");
    if (arrow && from.classList.contains("text")) return; // scrolls that text
    const act = /^[1-9]$/.test(event.key) ? () => rankMarked(Number(event.key))
      : Object.hasOwn(keys, event.key) ? keys[event.key] : keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });

  place("previous").addEventListener("click", keys.p);
  place("next").addEventListener("click", next);
  place("open").addEventListener("click", keys.o);
  place("undo").addEventListener("click", undo);
  place("export").addEventListener("click", download);
  place("unable").addEventListener("change", keys.x);
  place("note").addEventListener("change", () => change((found) => { found.note = place("note").value; }));
  document.addEventListener("visibilitychange", () => {
    // The time up to now belongs to the state before: hidden time is left out, seen time counted.
    const now = performance.now();
    if (document.visibilityState === "hidden") answer().seconds += (now - since) / 1000;
    since = now;
  });
  addEventListener("pagehide", () => { clock(); keep(); });

  restore();
  keep();
  show();
  if (!keeps) say("This browser keeps nothing: export before you close the page.");
})();
