// The sample browser: filters, a list that draws only the rows in sight, and one opened sample.

{
  const VERDICTS = {
    0: { name: "harmless", sign: "✓" },
    1: { name: "harmful", sign: "✕" },
    2: { name: "unknown", sign: "?" },
    3: { name: "not judged", sign: "·" },
    4: { name: "not answered", sign: "–" },
    // An annotator's, who compares with a reference's output.
    5: { name: "better", sign: "▲" },
    6: { name: "worse", sign: "▼" },
    7: { name: "draw", sign: "=" },
    8: { name: "no usable answer", sign: "?" },
  };
  const section = document.getElementById("samples");
  const form = document.getElementById("filters").elements;
  const list = document.getElementById("list");
  const space = document.getElementById("space");
  const found = document.getElementById("found");
  const soFar = document.getElementById("so-far");
  const progress = document.getElementById("progress");
  const revealAll = document.getElementById("reveal-all");
  const dialog = document.getElementById("sample");

  let index = null; // what can be filtered by (samples.py describes it)
  let views = []; // a run as one judge saw it
  let source = null;
  let search = { id: 0, rows: [], done: false, words: [] };
  let height = 0; // of a row of the list
  let current = 0; // place in the list that Tab goes to
  const previews = new Map(); // row → beginnings of its texts, for the first view's run
  const revealed = new Set(); // rows that were asked for

  // ---------------------------------------------------------------- what a row is

  const startsOfTasks = () => {
    let from = 0;
    return index.tasks.map(([, , rows]) => (from += rows) - rows);
  };
  let starts = [];
  const taskOf = (row) => starts.findLastIndex((start) => start <= row);
  const verdictOf = (view, row) => index.runs[view.run].judges[view.judge].verdicts[row];
  // A task that some judge has judged asks for harm; others (helpfulness) do not.
  let judged = [];
  // Text of a task that asks for harm is veiled, but for answers that every judge found harmless.
  const promptVeiled = (row) => judged[taskOf(row)] && !revealAll.checked && !revealed.has(row);
  const answerVeiled = (row, run) => {
    const judges = index.runs[run].judges.filter(({ annotator }) => !annotator);
    return promptVeiled(row) && !(judges.length && judges.every(({ verdicts }) => verdicts[row] === "0"));
  };

  function badge(view, row, withNames) {
    const { name, sign } = VERDICTS[verdictOf(view, row)];
    const judge = index.runs[view.run].judges[view.judge];
    const p = judge.p && judge.p[row] >= 0 ? ` · p(${judge.annotator ? "better" : "harmful"}) ${(judge.p[row] / 1000).toFixed(3)}` : "";
    return element("span", { class: `badge ${name.replaceAll(" ", "-")}` },
      element("span", { "aria-hidden": "true" }, sign + " "), name, withNames ? ` · ${judge.name || "no judge"}${p}` : "");
  }

  // ---------------------------------------------------------------- filters

  const option = (value, text) => element("option", { value }, text);

  function prepare() {
    starts = startsOfTasks();
    judged = index.tasks.map(([, , rows], task) =>
      index.runs.some((run) => run.judges.some(({ verdicts }) =>
        /[012]/.test(verdicts.slice(starts[task], starts[task] + rows)))));
    views = index.runs.flatMap((run, at) => run.judges.map((judge, place) => ({ run: at, judge: place })));
    const label = ({ run, judge }) => {
      const { name, judges } = index.runs[run];
      const how = judges[judge].annotator ? "annotated" : "judged";
      return judges.length > 1 ? `${name}, ${how} by ${judges[judge].name}` : name;
    };
    form.a.append(...views.map((view, at) => option(at, label(view))));
    form.b.append(option("", "nothing"), ...views.map((view, at) => option(at, label(view))));
    form.task.append(option("", "all"), ...index.tasks.map(([, title, rows], at) => option(at, `${title} (${rows.toLocaleString("en")})`)));
    const sorted = index.categories.map((name, at) => [name, at]).sort(([x], [y]) => x.localeCompare(y, "en"));
    form.category.append(option("", "all"), ...sorted.map(([name, at]) => option(at, name)));
    if (!sorted.length) form.category.closest("label").hidden = true;
    if (!index.runs.some(({ judges }) => judges.some(({ annotator }) => annotator)))
      for (const each of form.verdict.querySelectorAll("[data-annotated]")) each.remove();
    if (views.length < 2) for (const name of ["b", "difference"]) form[name].closest("label").hidden = true;
  }

  const number = (text) => (text === "" ? null : Number(text));

  function start() {
    const other = number(form.b.value);
    form.difference.disabled = other === null;
    // All words must occur; what stands in quotes is one word.
    const words = [...form.words.value.toLowerCase().matchAll(/"([^"]+)"?|(\S+)/g)].map((match) => match[1] ?? match[2]);
    const a = views[Number(form.a.value)];
    if (search.run !== a.run) previews.clear();
    search = {
      rows: [], done: false, words, run: a.run,
      a, b: other === null ? null : views[other],
    };
    search.id = source.find({
      a, b: search.b, words, where: form.where.value,
      task: number(form.task.value), category: number(form.category.value),
      verdict: form.verdict.value, difference: form.difference.value,
    });
    current = 0;
    list.scrollTop = 0;
    count(0, 0);
  }

  function count(looked, of) {
    cancelAnimationFrame(frame);
    // Said once when a search begins and once when it ends; in between a screen reader has peace.
    const rows = search.rows.length.toLocaleString("en");
    const whole = search.done ? `${rows} of ${index?.category.length.toLocaleString("en")} samples` : "Searching …";
    found.textContent = search.failed ?? whole;
    soFar.textContent = search.done ? "" : `${rows} so far`;
    progress.hidden = search.done;
    progress.max = Math.max(of, 1);
    progress.value = looked;
    draw();
  }

  let typing = 0;
  for (const control of form) {
    control.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(start, control.name === "words" ? 250 : 0);
    });
  }
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  revealAll.addEventListener("change", () => {
    draw();
    if (dialog.open) open(opened);
  });

  // ---------------------------------------------------------------- list

  const drawn = new Map(); // place → its element

  function line(place) {
    const row = search.rows[place];
    const [, title] = index.tasks[taskOf(row)];
    const category = index.category[row];
    const beginning = previews.get(row);
    const words = (text, veiled, label) => {
      if (!text) return element("span", { class: "quiet" }, label);
      const attributes = veiled ? { class: "veiled", "aria-hidden": "true" } : {};
      return element("bdi", attributes, ...visible(text.replace(/\s+/g, " "), veiled ? [] : search.words));
    };
    const whose = (view, name) => (search.b ? element("span", { class: "quiet" }, name) : null);
    return element("div", { role: "listitem", class: "row", "aria-setsize": search.rows.length, "aria-posinset": place + 1 },
      element("button", { type: "button", "data-place": place, tabindex: place === current ? 0 : -1 },
        element("span", { class: "head" },
          element("span", { class: "where" }, title),
          category >= 0 ? element("bdi", { class: "category" }, ...visible(index.categories[category])) : null,
          whose(search.a, "1st"), badge(search.a, row, false),
          whose(search.b, "2nd"), search.b ? badge(search.b, row, false) : null),
        element("span", { class: "question" }, words(beginning?.question, promptVeiled(row), beginning ? "(empty)" : "…")),
        element("span", { class: "answer" }, words(beginning?.response, answerVeiled(row, search.run), beginning ? "(empty)" : "…"))));
  }

  /** Draws the rows in sight and asks for texts that are not there yet. */
  function draw() {
    if (!height) height = Number.parseFloat(getComputedStyle(space).getPropertyValue("--row"));
    space.style.height = `${search.rows.length * height}px`;
    const from = Math.max(0, Math.floor(list.scrollTop / height) - 3);
    const to = Math.min(search.rows.length, Math.ceil((list.scrollTop + list.clientHeight) / height) + 3);
    const focused = Number(document.activeElement?.dataset?.place ?? -1);
    const missing = [];
    for (const each of drawn.values()) each.remove();
    drawn.clear();
    for (let place = from; place < to; place++) {
      const made = line(place);
      made.style.top = `${place * height}px`;
      drawn.set(place, made);
      if (!previews.has(search.rows[place])) missing.push(search.rows[place]);
    }
    space.append(...drawn.values());
    if (drawn.has(focused)) drawn.get(focused).firstChild.focus({ preventScroll: true });
    if (missing.length) ask(missing);
  }

  let asking = false;
  async function ask(rows) {
    if (asking) return; // drawn again when the answer is there, for the rows that are then in sight
    asking = true;
    const { run } = search;
    try {
      for (const each of await source.ask("rows", { rows, run })) if (run === search.run) previews.set(each.row, each);
    } catch (error) {
      found.textContent = error.message;
      return;
    } finally {
      asking = false;
    }
    if (previews.size > 5000) for (const row of [...previews.keys()].slice(0, 4000)) previews.delete(row);
    draw();
  }

  let frame = 0;
  /** Before the next frame, unless something newer is to be done before it. */
  function soon(work) {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(work);
  }
  list.addEventListener("scroll", () => soon(draw));
  new ResizeObserver(() => {
    height = 0;
    if (index) draw();
  }).observe(list);

  function go(place) {
    current = Math.max(0, Math.min(search.rows.length - 1, place));
    const top = current * height;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + height > list.scrollTop + list.clientHeight) list.scrollTop = top + height - list.clientHeight;
    draw();
    drawn.get(current)?.firstChild.focus({ preventScroll: true });
  }

  list.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(current + steps[event.key]);
  });
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-place]");
    if (!button) return;
    current = Number(button.dataset.place);
    open(current);
  });

  // ---------------------------------------------------------------- one sample

  let opened = 0; // its place in the list

  async function open(place) {
    opened = place;
    const row = search.rows[place];
    const { a, b, words } = search;
    const runs = [a.run, ...(b && b.run !== a.run ? [b.run] : [])];
    const content = document.getElementById("sample-content");
    const title = document.getElementById("sample-title");
    const [, name] = index.tasks[taskOf(row)];
    const category = index.category[row];
    title.replaceChildren(name, ...(category >= 0 ? [" · ", element("bdi", {}, ...visible(index.categories[category]))] : []));
    document.getElementById("sample-place").textContent = `${(place + 1).toLocaleString("en")} of ${search.rows.length.toLocaleString("en")}`;
    document.getElementById("sample-before").disabled = place === 0;
    document.getElementById("sample-after").disabled = place + 1 >= search.rows.length;
    const before = document.activeElement;
    if (!dialog.open) dialog.showModal();
    try {
      const samples = await Promise.all(runs.map((run) => source.ask("sample", { row, run })));
      if (opened !== place || !dialog.open) return;
      const reveal = () => {
        revealed.add(row);
        draw();
      };
      const others = index.runs.map((_, run) => run).filter((run) => !runs.includes(run) && answeredBy(run, row));
      content.replaceChildren(
        element("h3", {}, "Prompt"),
        textBox(samples[0].question, { words, veiled: promptVeiled(row), label: "prompt", reveal }),
        ...samples.flatMap((sample, at) => answer(sample, row, runs[at], words, reveal)),
        ...(samples[0].reference === null ? [] : [
          element("h3", {}, "Output of the reference"),
          textBox(samples[0].reference, { veiled: promptVeiled(row), label: "output", reveal })]),
        ...(others.length ? [otherAnswers(others, row, words, reveal)] : []),
        element("p", { class: "quiet" }, `Item ${samples[0].item}, number ${(samples[0].position + 1).toLocaleString("en")} of its source`));
    } catch (error) {
      content.replaceChildren(element("p", {}, error.message));
    }
    document.getElementById("sample-body").scrollTop = 0;
    // Buttons that went through samples keep the focus, so that they can be pressed again.
    if (!dialog.contains(before) || before.disabled) title.focus();
  }

  const answeredBy = (run, row) => index.runs[run].judges[0].verdicts[row] !== "4";

  function answer({ answer: given }, row, run, words, reveal) {
    const heading = element("h3", {}, "Response of ", element("bdi", {}, ...visible(index.runs[run].name)));
    if (!given) return [heading, element("p", { class: "quiet" }, "This run has no answer to the item.")];
    const { judges } = index.runs[run];
    // An annotator was not asked about a task of harm, nor a judge of harm about the others.
    const asked = judges.map((_, judge) => judge).filter((judge) => !judges[judge].annotator === judged[taskOf(row)] || judges[judge].verdicts[row] !== "3");
    const badges = element("p", { class: "badges" }, ...asked.map((judge) => badge({ run, judge }, row, true)));
    const veiled = answerVeiled(row, run);
    const facts = [
      given.finish === "length" ? "reached the limit of new tokens" : `ended by ${given.finish}`,
      `${given.tokens} tokens`, `prompt ${given.promptTokens} tokens`,
      ...(given.noAnswer ? [`no answer: ${given.noAnswer}`] : []),
      ...(given.cutTokens ? [`${given.cutTokens} cut from the prompt`] : []), `seed ${given.seed}`,
    ];
    const thought = given.thought ? [element("details", {}, element("summary", {}, "Thought before the answer, which no judge saw"),
      textBox(given.thought, { words, veiled, label: "thought", reveal }))] : [];
    const details = element("details", {}, element("summary", {}, "Prompt as the model was given it, and what the judges saw"));
    details.addEventListener("toggle", () => {
      if (!details.open || details.children.length > 1) return;
      details.append(
        ...(given.own === null ? [] : [element("h4", {}, "Prompt as the judges were shown it"), textBox(given.own, { veiled: promptVeiled(row), reveal })]),
        element("h4", {}, "As the model was given it"),
        textBox(given.prompt, { words, veiled: promptVeiled(row), reveal }),
        ...judges.flatMap((judge, at) => (given.raws[at] ?? null) === null ? [] : [
          element("h4", {}, element("bdi", {}, ...visible(judge.name))),
          textBox(given.raws[at], { veiled, reveal })]));
    });
    return [heading, badges, textBox(given.response, { words, veiled, label: "response", reveal }),
      element("p", { class: "quiet" }, facts.join(" · ")), ...thought, details];
  }

  function otherAnswers(runs, row, words, reveal) {
    const button = element("button", { type: "button" }, runs.length === 1 ? "Show the other run's response" : `Show the responses of ${runs.length} other runs`);
    const box = element("div", {}, button);
    button.addEventListener("click", async () => {
      const samples = await Promise.all(runs.map((run) => source.ask("sample", { row, run })));
      box.replaceChildren(...samples.flatMap((sample, at) => answer(sample, row, runs[at], words, reveal)));
      box.querySelector("h3").tabIndex = -1;
      box.querySelector("h3").focus();
    });
    return box;
  }

  const step = (by) => {
    const place = opened + by;
    if (place < 0 || place >= search.rows.length) return;
    current = place;
    open(place);
  };
  document.getElementById("sample-before").addEventListener("click", () => step(-1));
  document.getElementById("sample-after").addEventListener("click", () => step(1));
  document.getElementById("sample-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
  dialog.addEventListener("close", () => {
    document.getElementById("sample-content").replaceChildren();
    go(current);
  });

  // ---------------------------------------------------------------- start

  function hear(said) {
    if (said.is === "ready") {
      index = said.index;
      prepare();
      start();
    } else if (said.is === "found" && said.id === search.id) {
      for (const row of said.rows) search.rows.push(row);
      search.done = said.done;
      // Files are searched faster than a screen can show it.
      if (said.done) count(said.looked, said.of);
      else soon(() => count(said.looked, said.of));
    } else if (said.is === "failed" && (said.id === search.id || said.id === 0)) {
      search.done = true;
      search.failed = said.why; // a frame that still waits must not write over it
      count(0, 0);
    }
  }

  if (Number(section.dataset.rows) === 0) {
    document.getElementById("samples-none").hidden = false;
  } else {
    document.getElementById("browser").hidden = false;
    if (window.Worker && window.DecompressionStream) source = openSource(hear);
    else found.textContent = "This browser is too old to open the samples (it lacks DecompressionStream).";
  }
}
