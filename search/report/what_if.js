"use strict";
// What `apportion recommend` computes, from the models and joint draws that the report embeds.
(() => {
  const data = JSON.parse(document.getElementById("what-if-data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const floats = (text) => new Float32Array(bytes(text));
  const logSizes = floats(data.sizes), diversity = floats(data.diversity), designs = floats(data.designs);
  const parts = data.parts, means = new Float64Array(bytes(parts.mean)), part = new Uint16Array(bytes(data.part));
  const coefficients = floats(data.coefficients), misfit = floats(data.misfit), noise = floats(data.noise);
  const levels = data.responses, width = data.width, draws = data.draws, sizes = logSizes.length;
  const models = Math.max(...parts.model) + 1, NONE = { seeds: 0, reward: 0 };
  const PRICES = ["per_prompt", "per_response", "per_annotation", "per_comparison", "per_judged", "per_generated"];

  function comparisons(state, k) {
    if (k < 2) return 0;
    return state.comparisons === "pairs" ? (k * (k - 1)) / 2 : Math.ceil(k * Math.log2(k));
  }

  function costPerPrompt(state, k) {
    const rated = state.per_annotation * k + state.per_comparison * comparisons(state, k);
    const written = state.per_response * k + state.per_generated * Math.max(state.generated, k);
    const judged = state.per_judged * (data.judged.chosen_by ? Math.max(state.generated, k) : data.judged.labels ? k : 0);
    return state.per_prompt + written + data.judged.human * state.raters * rated + judged;
  }

  // For each number of responses the largest split within an amount of money, fewest responses first.
  function feasible(state, amount) {
    const found = [];
    levels.forEach((responses, level) => {
      const each = costPerPrompt(state, responses);
      const affordable = each > 0 ? Math.floor((amount / each) * (1 + 1e-12)) : Infinity;
      const prompts = state.max_prompts === null ? affordable : Math.min(affordable, state.max_prompts);
      if (prompts >= 1 && prompts < Infinity) found.push({ prompts, responses, level, cost: prompts * each });
    });
    return found;
  }

  // The splits of trials that can be had within the budget.
  function tried(state) {
    const most = state.max_prompts === null ? data.tried.prompts : state.max_prompts;
    return data.tried.splits
      .map(([prompts, responses]) => ({
        prompts, responses, level: levels.indexOf(responses), cost: prompts * costPerPrompt(state, responses),
      }))
      .filter((split) => split.prompts <= most && split.cost <= state.budget * (1 + 1e-12));
  }

  const SMALLER = 6;

  // At most six amounts under the budget that trials cost, a tenth apart, largest first.
  function amounts(state, splits) {
    const found = [];
    for (const cost of splits.map((split) => split.cost).sort((a, b) => b - a)) {
      if (cost > 0 && cost < 0.9 * (found.length ? found[found.length - 1] : state.budget)) found.push(cost);
    }
    if (found.length <= SMALLER) return found;
    const step = (found.length - 1) / (SMALLER - 1);
    return Array.from({ length: SMALLER }, (_, i) => found[Math.round(i * step)]);
  }

  // What competes: the largest split of each number of responses, those tried, and smaller ones.
  function competing(state) {
    const had = tried(state), found = [...had, ...feasible(state, state.budget)];
    for (const amount of amounts(state, had)) {
      found.push(...feasible(state, amount)
        .filter((split) => split.prompts >= data.tried.fewest_by_responses[split.level]));
    }
    const once = new Map(found.map((split) => [`${split.prompts} ${split.responses}`, split]));
    return [...once.values()]
      .sort((a, b) => a.cost - b.cost || a.prompts - b.prompts || a.responses - b.responses);
  }

  // Where log prompts lies among the kept sizes: the one below, and how far it is to the next.
  function place(prompts) {
    const at = Math.min(Math.max(Math.log(prompts), logSizes[0]), logSizes[sizes - 1]);
    let low = 0, high = sizes - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (logSizes[middle] <= at) low = middle; else high = middle;
    }
    return [low, (at - logSizes[low]) / (logSizes[high] - logSizes[low])];
  }

  // The design row of every model at a split, one after the other.
  function rows(split) {
    const [low, share] = place(split.prompts), found = new Float64Array(models * width);
    for (let m = 0; m < models; m++) {
      const start = ((m * levels.length + split.level) * sizes + low) * width;
      for (let j = 0; j < width; j++) {
        found[m * width + j] = designs[start + j] * (1 - share) + designs[start + width + j] * share;
      }
    }
    return found;
  }

  // Seeds and mean reward of the trial at a split, which say how far it lies off the models.
  const trials = new Map(data.tried.splits.map(([n, k, seeds, reward]) => [`${n} ${k}`, { seeds, reward }]));
  const trialAt = (split) => trials.get(`${split.prompts} ${split.responses}`) || NONE;

  function meanOf(row, trial) {
    let sum = 0;
    for (let p = 0; p < parts.model.length; p++) {
      const byModel = 1 / (1 + parts.ratio[p] * trial.seeds), from = parts.model[p] * width;
      let model = 0;
      for (let j = 0; j < width; j++) model += row[from + j] * means[p * width + j];
      sum += byModel * model + (1 - byModel) * parts.weight[p] * trial.reward;
    }
    return sum;
  }

  // Joint draws of the expected reward of a split. Its lack of fit is its own: `place` tells splits apart; none
  // where two budgets are compared.
  function drawn(row, trial, place) {
    const found = new Float64Array(draws), turn = place === null ? 0 : (place * 521) % draws;
    for (let d = 0; d < draws; d++) {
      const byModel = 1 / (1 + parts.ratio[part[d]] * trial.seeds), from = parts.model[part[d]] * width;
      let model = 0;
      for (let j = 0; j < width; j++) model += row[from + j] * coefficients[d * width + j];
      const off = place === null ? 0 : misfit[d] * Math.sqrt(byModel) * noise[(d + turn) % draws];
      found[d] = byModel * model + (1 - byModel) * trial.reward + off;
    }
    return found;
  }

  function quantiles(values, shares) {
    const sorted = Float64Array.from(values).sort();
    return shares.map((share) => {
      const at = share * (sorted.length - 1), low = Math.floor(at);
      const next = Math.min(low + 1, sorted.length - 1);
      return sorted[low] + (at - low) * (sorted[next] - sorted[low]);
    });
  }

  const [LOW, HIGH] = data.bounds;
  const clip = (reward) => Math.min(Math.max(reward, LOW === null ? -Infinity : LOW), HIGH === null ? Infinity : HIGH);
  const interval = (values) => quantiles(values, [0.025, 0.975]).map(clip);

  function diversityAt(prompts) {
    const [low, share] = place(prompts);
    return diversity[low] * (1 - share) + diversity[low + 1] * share;
  }

  // `splits` best first; rewards that differ by rounding alone count as equal, and the cheaper comes first.
  function ordered(splits) {
    for (const split of splits) {
      split.row = rows(split);
      split.trial = trialAt(split);
      split.raw = meanOf(split.row, split.trial);
    }
    const all = splits.map((split) => split.raw);
    const unit = 1e-9 * Math.max(Math.max(...all) - Math.min(...all), 1e-12);
    return splits.sort((a, b) => Math.round(b.raw / unit) - Math.round(a.raw / unit));
  }

  const isContender = (split) => data.tried.responses.includes(split.responses);
  const isEqual = (best, other, margin) => Math.abs(best.raw - other.raw) <= margin;

  // Of each other split: the chance of being worse than the first, and of being better by more than the margin.
  function judge(best, other, margin) {
    let wins = 0, above = 0;
    for (let d = 0; d < draws; d++) {
      const lead = other.draws[d] - best.draws[d];
      wins += lead < 0;
      above += lead > margin;
    }
    other.exceeds = isContender(other) ? above / draws : 0;
    other.loses = wins / draws;
  }

  const SLIGHT = 0.01, NEIGHBOUR = 0.5; // as in search/fit/decision.py

  // The contender most likely to be better by more than the margin, of those that are not equal to the best.
  function second(best, others, margin) {
    const rivals = others.filter((split) => isContender(split) && !isEqual(best, split, margin));
    const other = rivals.find((split) => split.responses !== best.responses);
    if (other && rivals.every((split) => split.exceeds < SLIGHT)) return other;
    const alike = (split) => split.responses === best.responses && split.trial === NONE;
    const chance = (split) => split.exceeds * (alike(split) ? NEIGHBOUR : 1);
    return rivals.reduce((a, b) => (a === null || chance(b) > chance(a) ? b : a), null);
  }

  function answer(state) {
    const splits = ordered(competing(state));
    splits.forEach((split, place) => {
      split.draws = drawn(split.row, split.trial, place);
      split.reward = clip(split.raw);
      split.interval = interval(split.draws);
      split.prompts_beyond = split.prompts / data.tried.prompts;
      split.prompts_below = data.tried.fewest / split.prompts;
      split.diversity_beyond = diversityAt(split.prompts) / data.tried.diversity;
    });
    const [best, ...others] = splits;
    if (!best) return { splits };
    others.forEach((other) => judge(best, other, state.margin));
    const runner = second(best, others, state.margin);
    return {
      splits, best, runner,
      probability_better: runner ? runner.loses : null,
      within: others.filter((split) => isEqual(best, split, state.margin)),
      extrapolated: Math.max(best.prompts_beyond, best.prompts_below, best.diversity_beyond) > data.tried.beyond,
      too_far: Math.log(best.prompts) > logSizes[sizes - 1],
      edge: best.responses === data.tried.responses[data.tried.responses.length - 1],
      ...marginal(state, best),
    };
  }

  // What a tenth more money adds, for each unit of it.
  function marginal(state, best) {
    const [more] = ordered(competing({ ...state, budget: state.budget * 1.1 })), spent = state.budget * 0.1;
    const after = drawn(more.row, more.trial, null), now = drawn(best.row, best.trial, null);
    const gains = after.map((value, d) => (value - now[d]) / spent);
    return { gain: (more.raw - best.raw) / spent, gain_interval: quantiles(gains, [0.025, 0.975]) };
  }

  const POINTS = 25, SPAN = 4; // budgets drawn: from a quarter to four times the chosen one

  // By the models alone, which are smooth.
  function curves(state) {
    const budgets = Array.from({ length: POINTS }, (_, i) => state.budget * SPAN ** ((2 * i) / (POINTS - 1) - 1));
    const lines = levels.map(() => []), low = [], high = [];
    for (const budget of budgets) {
      const splits = feasible(state, budget);
      splits.forEach((split) => { split.row = rows(split); split.raw = meanOf(split.row, NONE); });
      levels.forEach((_, level) => {
        const split = splits.find((each) => each.level === level);
        lines[level].push(split ? clip(split.raw) : null);
      });
      const best = splits.reduce((a, b) => (a === null || b.raw > a.raw ? b : a), null);
      const [from, to] = best ? interval(drawn(best.row, NONE, 0)) : [null, null];
      low.push(from);
      high.push(to);
    }
    return { budgets, lines, low, high };
  }

  // The page

  const form = document.getElementById("what-if-form");
  const own = { ...data.cost, budget: data.budget, max_prompts: data.max_prompts, margin: data.margin };
  const number = (value, digits) => value.toLocaleString("en", { maximumFractionDigits: digits });
  const name = (split) => `${number(split.prompts, 0)} x ${split.responses}`;

  function fill() {
    for (const field of form.elements) {
      if (field.name in own) field.value = own[field.name] === null ? "" : own[field.name];
    }
    form.elements.budget_slider.value = 0;
  }

  // The fields as numbers, or what is wrong with them.
  function read() {
    const state = { comparisons: form.elements.comparisons.value };
    for (const field of ["budget", "raters", "generated", "margin", ...PRICES]) {
      const text = form.elements[field].value, value = Number(text);
      if (text === "" || !Number.isFinite(value) || value < 0) return { wrong: `${field}: a number is needed` };
      state[field] = value;
    }
    const most = form.elements.max_prompts.value;
    state.max_prompts = most === "" ? null : Math.floor(Number(most));
    if (state.raters < 1) return { wrong: "raters: at least 1" };
    if (!PRICES.some((price) => state[price] > 0)) return { wrong: "every price is 0" };
    return state;
  }

  function element(kind, text, parent) {
    const made = document.createElement(kind);
    made.textContent = text;
    parent.append(made);
    return made;
  }

  function facts(pairs) {
    const list = document.getElementById("what-if-facts");
    list.replaceChildren();
    for (const [term, text] of pairs) {
      const box = element("div", "", list);
      element("dt", term, box);
      element("dd", text, box);
    }
  }

  function sure(probability) {
    if (probability >= 0.995) return "over 0.99";
    return probability >= 0.005 ? probability.toFixed(2) : "under 0.01";
  }

  function warnings(found) {
    const said = [];
    if (found.too_far) said.push("Beyond what this page holds: ask apportion recommend.");
    if (found.extrapolated) {
      said.push(`Extrapolated: ${found.best.prompts_beyond.toFixed(2)} times the most prompts tried, ` +
        `${found.best.diversity_beyond.toFixed(2)} times the highest diversity; the smallest trial had ` +
        `${found.best.prompts_below.toFixed(2)} times its prompts.`);
    }
    if (found.edge) said.push("Responses sit at the edge of what was tried.");
    if (found.within.length) said.push(`Within your margin of it: ${found.within.slice(0, 4).map(name).join(", ")}.`);
    const list = document.getElementById("what-if-warnings");
    list.replaceChildren();
    said.forEach((text) => element("li", text, list));
  }

  const SHOWN = 8; // rows of the table

  function table(found) {
    const rowsOf = found.splits.slice(0, SHOWN).map((s) => [name(s), number(s.cost, 2), s.reward.toFixed(data.decimals + 1),
      `${s.interval[0].toFixed(data.decimals + 1)} to ${s.interval[1].toFixed(data.decimals + 1)}`]);
    const body = document.getElementById("what-if-table");
    body.replaceChildren();
    for (const cells of [["split", "cost", "predicted", "95% interval"], ...rowsOf]) {
      const line = element("tr", "", body);
      cells.forEach((cell) => element(body.rows.length === 1 ? "th" : "td", cell, line));
    }
    if (body.rows[1]) body.rows[1].className = "best";
  }

  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#888888"];
  const DASHES = [[], [8, 4], [8, 3, 2, 3], [2, 3], [10, 3, 2, 3, 2, 3], [12, 4], [2, 6]];
  let plot = null;

  // 1, 2 and 5 times the powers of ten within a range.
  function ticksOf(low, high) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const digit of [1, 2, 5]) found.push(Number(`${digit}e${power}`));
    }
    return found.filter((tick) => tick >= low && tick <= high);
  }

  function draw(state) {
    const { budgets, lines, low, high } = curves(state);
    const holder = document.getElementById("what-if-plot");
    const css = (property) => getComputedStyle(holder).getPropertyValue(property).trim();
    if (plot) plot.destroy();
    const axis = { stroke: css("--ink"), grid: { stroke: css("--line"), width: 1 },
      ticks: { stroke: css("--line"), width: 1 } };
    const short = (value) => (value === null ? "" : number(value, 4));
    const unseen = { show: true, stroke: "transparent", points: { show: false } };
    plot = new uPlot({
      width: Math.max(holder.clientWidth, 200), height: 300, title: "Predicted reward over budget",
      scales: { x: { time: false, distr: 3, range: [budgets[0], budgets[budgets.length - 1]] }, y: {} },
      axes: [
        { ...axis, label: `budget (${data.cost.unit})`, splits: (_, index, low, high) => ticksOf(low, high),
          values: (_, ticks) => ticks.map((t) => number(t, 6)), filter: (_, ticks) => ticks },
        { ...axis, label: "reward", size: 60 },
      ],
      series: [
        { label: "budget", value: (_, value) => (value === null ? "" : number(value, 0)) },
        { ...unseen, label: "best, 97.5%", value: (_, v) => short(v) },
        { ...unseen, label: "best, 2.5%", value: (_, v) => short(v) },
        ...levels.map((k, i) => ({
          label: `${k} responses`, stroke: COLOURS[i % COLOURS.length], width: 2, dash: DASHES[i % DASHES.length],
          points: { show: false }, value: (_, v) => short(v),
        })),
      ],
      bands: [{ series: [1, 2], fill: css("--accent") + "26" }],
      hooks: { draw: [(u) => {
        const x = u.valToPos(state.budget, "x", true);
        u.ctx.save();
        u.ctx.strokeStyle = css("--quiet");
        u.ctx.setLineDash([4, 4]);
        u.ctx.beginPath();
        u.ctx.moveTo(x, u.bbox.top);
        u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
        u.ctx.stroke();
        u.ctx.restore();
      }] },
    }, [budgets, high, low, ...lines], holder);
  }

  function show() {
    const started = performance.now(), state = read(), head = document.getElementById("what-if-split");
    const found = state.wrong ? { splits: [] } : answer(state);
    window.whatIf.current = found;
    if (!found.best) {
      head.textContent = state.wrong || "This budget buys no prompt";
      facts([]);
      return;
    }
    const { best, runner } = found, [low, high] = best.interval, [least, most] = found.gain_interval;
    head.textContent = `Label ${number(best.prompts, 0)} prompts x ${best.responses} responses`;
    facts([
      ["predicted reward", best.reward.toFixed(data.decimals)],
      ["95% interval", `${low.toFixed(data.decimals)} to ${high.toFixed(data.decimals)}`],
      ["cost", `${number(best.cost, 2)} of ${number(state.budget, 2)} ${data.cost.unit}`],
      ...(runner ? [[`ahead of ${name(runner)}`,
        `by ${(best.reward - runner.reward).toFixed(data.decimals + 1)}, probability ${sure(found.probability_better)}`]] : []),
      [`gain of 1,000 more ${data.cost.unit}`,
        `${(found.gain * 1000).toPrecision(2)} (${(least * 1000).toPrecision(2)} to ${(most * 1000).toPrecision(2)})`],
    ]);
    warnings(found);
    table(found);
    draw(state);
    window.whatIf.milliseconds = performance.now() - started;
  }

  window.whatIf = { answer, own, current: null, milliseconds: 0 };
  form.addEventListener("input", (event) => {
    if (event.target.name === "budget_slider") {
      form.elements.budget.value = Number((own.budget * 10 ** Number(event.target.value)).toPrecision(3));
    }
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => { event.preventDefault(); fill(); show(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  addEventListener("resize", show);
  fill();
  show();
})();
