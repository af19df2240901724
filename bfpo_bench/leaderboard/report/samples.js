// The sample browser: data files, filters, a list in pages, and one opened sample.

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
  const REFUSALS = {
    0: { name: "answered in full", sign: "→" },
    1: { name: "refused in part", sign: "◐" },
    2: { name: "refused", sign: "■" },
    3: { name: "refusal unknown", sign: "?" },
  };
  const PER_PAGE = 25;
  const AHEAD = 4; // files asked for before they are searched
  const OPEN = 24; // opened files kept, about half a megabyte each
  const byId = (id) => document.getElementById(id);
  const form = byId("filters").elements;
  const list = byId("list");
  const revealAll = byId("reveal-all");
  const dialog = byId("sample");
  const figures = (number) => number.toLocaleString("en");

  let index = null; // what can be filtered by (samples.py describes it)
  let starts = []; // first row of each task
  let judged = []; // by task: whether some judge has judged it; others (helpfulness) do not ask for harm
  let views = []; // a run as one judge saw it
  let search = { rows: [], words: [] };
  let page = 0;
  let shown = []; // the samples of the page
  let opened = 0; // place of the opened sample among those found
  const revealed = new Set(); // rows that were asked for

  // ---------------------------------------------------------------- data files

  // The only policy there is: with it, nothing but the report's data files can become a script.
  const address = (path) => {
    if (/^data\/[a-z0-9-]+\.js$/.test(path)) return path;
    throw new TypeError(`no address of this report: ${path}`);
  };
  const trusted = window.trustedTypes?.createPolicy("report", { createScriptURL: address }) ?? { createScriptURL: address };
  const waiting = new Map(); // name → what to call with the data
  const files = new Map(); // name → promise of the data as they came
  const contents = new Map(); // name → promise of what is in them, the latest used last

  // Data files call this.
  window.bfpo = (name, data) => waiting.get(name)?.(data);

  function file(name) {
    if (!files.has(name)) {
      files.set(name, new Promise((resolve, reject) => {
        waiting.set(name, resolve);
        const script = document.createElement("script");
        script.src = trusted.createScriptURL(`data/${name}.js`);
        script.onload = () => script.remove();
        script.onerror = () => {
          script.remove();
          files.delete(name);
          reject(new Error(`data/${name}.js cannot be read; was the folder copied whole?`));
        };
        document.head.append(script);
      }));
    }
    return files.get(name);
  }

  /** What is in a file, if it is of this page: another report may have taken the folder since. */
  async function unpacked(name, data) {
    const end = name === "index" ? byId("samples").dataset.end : index.ends[name];
    if (!data.endsWith(end)) {
      files.delete(name);
      throw new Error("another report has been written here since this page was opened; load it again");
    }
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  }

  function content(name) {
    const found = contents.get(name) ?? file(name).then((data) => unpacked(name, data));
    contents.delete(name);
    contents.set(name, found);
    found.catch(() => contents.delete(name));
    if (contents.size > OPEN) contents.delete(contents.keys().next().value);
    return found;
  }

  const chunkOf = (row) => Math.floor(row / index.per_chunk);

  /** One run's answer to one item, with everything that is known of it. */
  async function sample(row, run) {
    const at = row % index.per_chunk;
    const [questions, answers] = await Promise.all([content(`questions-${chunkOf(row)}`), content(`run-${run}-${chunkOf(row)}`)]);
    const [item, position, question, reference] = questions[at];
    const head = { row, item, position, question: question ?? "", reference: reference ?? null, answer: null };
    if (!answers[at]) return head;
    const [response, finish, seed, promptTokens, tokens, cutTokens, prompt, raws, own, thought, noAnswer] = answers[at];
    const frame = typeof prompt === "number" ? index.runs[run].frames[prompt] : null;
    const whole = frame ? frame[0] + (own ?? question) + frame[1] : prompt;
    return { ...head, answer: { response, finish, seed, promptTokens, tokens, cutTokens, raws, own, thought, noAnswer, prompt: whole } };
  }

  // ---------------------------------------------------------------- what a row is

  const taskOf = (row) => starts.findLastIndex((start) => start <= row);
  const verdictsOf = (view) => index.runs[view.run].judges[view.judge].verdicts;
  /** What is refused: by the view's judge, or by the run's where that one does not say. */
  const refuserOf = ({ run, judge }) => {
    const { judges } = index.runs[run];
    return judges[judge].refusals ? judges[judge] : judges.find(({ refusals }) => refusals) ?? null;
  };
  const answeredBy = (run, row) => index.runs[run].judges[0].verdicts[row] !== "4";
  // Text of a task that asks for harm is veiled, but for answers that every judge found harmless.
  const promptVeiled = (row) => judged[taskOf(row)] && !revealAll.checked && !revealed.has(row);
  const answerVeiled = (row, run) => {
    const judges = index.runs[run].judges.filter(({ harm }) => harm);
    return promptVeiled(row) && !(judges.length && judges.every(({ verdicts }) => verdicts[row] === "0"));
  };

  function badge(view, row, withNames) {
    const { name, sign } = VERDICTS[verdictsOf(view)[row]];
    const judge = index.runs[view.run].judges[view.judge];
    const p = judge.p && judge.p[row] >= 0 ? ` · p(${judge.annotator ? "better" : "harmful"}) ${(judge.p[row] / 1000).toFixed(3)}` : "";
    return element("span", { class: `badge ${name.replaceAll(" ", "-")}` },
      element("span", { "aria-hidden": "true" }, sign + " "), name, withNames ? ` · ${judge.name || "no judge"}${p}` : "");
  }

  /** What a judge says of refusing; null where it says nothing. */
  function refusalBadge(judge, row, withNames) {
    const said = REFUSALS[judge?.refusals?.[row]];
    if (!said) return null;
    const p = judge.p_refusal && judge.p_refusal[row] >= 0 ? ` · p(refused) ${(judge.p_refusal[row] / 1000).toFixed(3)}` : "";
    return element("span", { class: "badge refusal" },
      element("span", { "aria-hidden": "true" }, said.sign + " "), said.name, withNames ? ` · ${judge.name}${p}` : "");
  }

  function titleOf(row) {
    const category = index.category[row];
    const [, title] = index.tasks[taskOf(row)];
    return [title, category >= 0 ? element("bdi", { class: "category" }, ...visible(index.categories[category])) : null];
  }

  // ---------------------------------------------------------------- search

  const option = (value, text) => element("option", { value }, text);

  function prepare() {
    let from = 0;
    starts = index.tasks.map(([, , rows]) => (from += rows) - rows);
    judged = index.tasks.map(([, , rows], task) =>
      index.runs.some((run) => run.judges.some(({ verdicts, refusals }) =>
        [verdicts, refusals ?? ""].some((said) => /[012]/.test(said.slice(starts[task], starts[task] + rows))))));
    views = index.runs.flatMap((run, at) => run.judges.map((judge, place) => ({ run: at, judge: place })));
    const label = ({ run, judge }) => {
      const { name, judges } = index.runs[run];
      const how = judges[judge].annotator ? "annotated" : "judged";
      return judges.length > 1 ? `${name}, ${how} by ${judges[judge].name}` : name;
    };
    form.a.append(...views.map((view, at) => option(at, label(view))));
    form.b.append(option("", "nothing"), ...views.map((view, at) => option(at, label(view))));
    form.task.append(option("", "all"), ...index.tasks.map(([, title, rows], at) => option(at, `${title} (${figures(rows)})`)));
    const sorted = index.categories.map((name, at) => [name, at]).sort(([x], [y]) => x.localeCompare(y, "en"));
    form.category.append(option("", "all"), ...sorted.map(([name, at]) => option(at, name)));
    if (!sorted.length) form.category.closest("label").hidden = true;
    if (!index.runs.some(({ judges }) => judges.some(({ annotator }) => annotator)))
      for (const each of form.verdict.querySelectorAll("[data-annotated]")) each.remove();
    if (!views.some(refuserOf)) {
      form.refusal.closest("label").hidden = true;
      form.difference.querySelector("[value=refusal]").remove();
    }
    if (views.length < 2) for (const name of ["b", "difference"]) form[name].closest("label").hidden = true;
  }

  /** The rows that pass all but the text. */
  function candidates({ a, b }) {
    const [task, category, verdict, refusal, difference] =
      ["task", "category", "verdict", "refusal", "difference"].map((name) => form[name].value);
    const [refused, refusedToo] = [a, b].map((view) => (view && refuserOf(view)?.refusals) ?? null);
    const first = verdictsOf(a);
    const second = b && verdictsOf(b);
    const from = task === "" ? 0 : starts[task];
    const to = task === "" ? first.length : from + index.tasks[task][2];
    const found = [];
    for (let row = from; row < to; row++) {
      const [one, two] = [first[row], second?.[row]];
      if (one === "4" || two === "4") continue;
      if (category !== "" && index.category[row] !== Number(category)) continue;
      if (verdict !== "" && one !== verdict) continue;
      if (refusal !== "" && refused?.[row] !== refusal) continue;
      if (second && difference === "any" && one === two) continue;
      if (second && difference === "refusal" && (!refused || !refusedToo || refused[row] === refusedToo[row])) continue;
      if (second && difference === "first" && !(one === "1" && two === "0")) continue;
      if (second && difference === "second" && !(one === "0" && two === "1")) continue;
      found.push(row);
    }
    return found;
  }

  async function find() {
    form.difference.disabled = form.b.value === "";
    // All words must occur; what stands in quotes is one word.
    const words = [...form.words.value.toLowerCase().matchAll(/"([^"]+)"?|(\S+)/g)].map((match) => match[1] ?? match[2]);
    const mine = search = { rows: [], words, a: views[form.a.value], b: views[form.b.value] ?? null };
    const rows = candidates(mine);
    opened = page = 0;
    if (!words.length) {
      mine.rows = rows;
      count();
      return turn(0);
    }
    const chunks = grouped(rows, chunkOf);
    const runs = [...new Set([mine.a, mine.b].filter((view) => view).map(({ run }) => run))];
    const where = form.where.value;
    const names = (chunk) => [`questions-${chunk}`, ...(where === "question" ? [] : runs.map((run) => `run-${run}-${chunk}`))];
    const order = [...chunks.keys()];
    let looked = 0;
    count(0, rows.length);
    turn(0);
    try {
      for (const [place, chunk] of order.entries()) {
        for (const later of order.slice(place + 1, place + 1 + AHEAD)) names(later).forEach((name) => file(name).catch(() => {}));
        const texts = await Promise.all(names(chunk).map(content));
        // The page draws, and answers whoever uses it, before the next file is searched.
        await new Promise((resolve) => setTimeout(resolve));
        if (search !== mine) return;
        const before = mine.rows.length;
        mine.rows.push(...chunks.get(chunk).filter((row) => {
          // A line feed between prompt and response: no phrase goes over from one into the other.
          const all = texts.map((part, which) => {
            const one = part[row % index.per_chunk];
            return which === 0 && where !== "response" ? `${one[0]}\n${one[2]}` : which > 0 ? (one?.[0] ?? "") : "";
          }).join("\n").toLowerCase();
          return words.every((word) => all.includes(word));
        }));
        looked += chunks.get(chunk).length;
        count(looked, rows.length);
        if (before < PER_PAGE && mine.rows.length > before && page === 0) turn(0);
      }
      count();
      pages();
    } catch (error) {
      if (search === mine) fail(error);
    }
  }

  /** Says how much was found; with numbers, how far the search is. */
  function count(looked = null, of = 0) {
    const rows = figures(search.rows.length);
    // Said once when a search begins and once when it ends; in between a screen reader has peace.
    const said = looked === null ? `${rows} of ${figures(index.category.length)} samples` : "Searching …";
    if (byId("found").textContent !== said) byId("found").textContent = said;
    byId("so-far").textContent = looked === null ? "" : `${rows} so far`;
    byId("progress").hidden = looked === null;
    byId("progress").max = Math.max(of, 1);
    byId("progress").value = looked ?? 0;
  }

  function fail(error) {
    count();
    byId("found").textContent = error.message;
  }

  let typing = 0;
  for (const control of form) {
    control.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(find, control.name === "words" ? 250 : 0);
    });
  }
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  revealAll.addEventListener("change", () => {
    draw();
    if (dialog.open) open(opened);
  });

  // ---------------------------------------------------------------- list

  const lastPage = () => Math.max(0, Math.ceil(search.rows.length / PER_PAGE) - 1);

  /** Shows a page of what was found. */
  async function turn(to) {
    const mine = search;
    page = Math.max(0, Math.min(lastPage(), to));
    pages();
    const rows = mine.rows.slice(page * PER_PAGE, (page + 1) * PER_PAGE);
    const at = page;
    try {
      const samples = await Promise.all(rows.map((row) => sample(row, mine.a.run)));
      if (search !== mine || page !== at) return;
      shown = samples;
      draw();
    } catch (error) {
      if (search === mine) fail(error);
    }
  }

  function pages() {
    byId("pages").hidden = lastPage() === 0;
    byId("page").value = page + 1;
    byId("page").max = lastPage() + 1;
    byId("page-count").textContent = `of ${figures(lastPage() + 1)}`;
    byId("page-before").disabled = page === 0;
    byId("page-after").disabled = page === lastPage();
  }

  function draw() {
    list.replaceChildren(...shown.map(line));
  }

  function line({ row, question, answer }, at) {
    const words = (text, veiled) => {
      if (!text) return element("span", { class: "quiet" }, "(empty)");
      const beginning = text.slice(0, 300).replace(/\s+/g, " ");
      return element("bdi", veiled ? { class: "veiled", "aria-hidden": "true" } : {}, ...visible(beginning, veiled ? [] : search.words));
    };
    const badges = (view, row) => [
      index.runs[view.run].judges[view.judge].harm || verdictsOf(view)[row] !== "3" ? badge(view, row, false) : null,
      refusalBadge(refuserOf(view), row, false)];
    const whose = (name) => (search.b ? element("span", { class: "quiet" }, name) : null);
    const [title, category] = titleOf(row);
    return element("li", { class: "row" },
      element("button", { type: "button", "data-place": page * PER_PAGE + at },
        element("span", { class: "head" },
          element("span", { class: "where" }, title), category,
          whose("1st"), ...badges(search.a, row),
          whose("2nd"), ...(search.b ? badges(search.b, row) : [])),
        element("span", { class: "question" }, words(question, promptVeiled(row))),
        element("span", { class: "answer" }, words(answer?.response, answerVeiled(row, search.a.run)))));
  }

  const turned = async (to) => {
    await turn(to);
    list.scrollIntoView({ block: "nearest" });
  };
  byId("page-before").addEventListener("click", () => turned(page - 1));
  byId("page-after").addEventListener("click", () => turned(page + 1));
  byId("page").addEventListener("change", () => turned(Number(byId("page").value) - 1));
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-place]");
    if (button) open(Number(button.dataset.place));
  });

  // ---------------------------------------------------------------- one sample

  async function open(place) {
    opened = place;
    const row = search.rows[place];
    const { a, b, words } = search;
    const runs = [...new Set([a.run, ...(b ? [b.run] : [])])];
    const title = byId("sample-title");
    const [name, category] = titleOf(row);
    title.replaceChildren(name, ...(category ? [" · ", category] : []));
    byId("sample-place").textContent = `${figures(place + 1)} of ${figures(search.rows.length)}`;
    byId("sample-before").disabled = place === 0;
    byId("sample-after").disabled = place + 1 >= search.rows.length;
    const before = document.activeElement;
    if (!dialog.open) dialog.showModal();
    const inside = byId("sample-content");
    try {
      const samples = await Promise.all(runs.map((run) => sample(row, run)));
      if (opened !== place || !dialog.open) return;
      const reveal = () => {
        revealed.add(row);
        draw();
      };
      const others = index.runs.map((_, run) => run).filter((run) => !runs.includes(run) && answeredBy(run, row));
      const [{ item, position, question, reference }] = samples;
      inside.replaceChildren(
        element("h3", {}, "Prompt"),
        textBox(question, { words, veiled: promptVeiled(row), label: "prompt", reveal }),
        ...samples.flatMap((sample, at) => answer(sample, runs[at], words, reveal)),
        ...(reference === null ? [] : [
          element("h3", {}, "Output of the reference"),
          textBox(reference, { veiled: promptVeiled(row), label: "output", reveal })]),
        ...(others.length ? [otherAnswers(others, row, words, reveal)] : []),
        element("p", { class: "quiet" }, `Item ${item}, number ${figures(position + 1)} of its source`));
    } catch (error) {
      inside.replaceChildren(element("p", {}, error.message));
    }
    byId("sample-body").scrollTop = 0;
    // Buttons that went through samples keep the focus, so that they can be pressed again.
    if (!dialog.contains(before) || before.disabled) title.focus();
  }

  function answer({ row, answer: given }, run, words, reveal) {
    const heading = element("h3", {}, "Response of ", element("bdi", {}, ...visible(index.runs[run].name)));
    if (!given) return [heading, element("p", { class: "quiet" }, "This run has no answer to the item.")];
    const { judges } = index.runs[run];
    // An annotator was not asked about a task of harm, nor a judge of harm about the others.
    const asked = judges.map((_, judge) => judge).filter((judge) => !judges[judge].annotator === judged[taskOf(row)] || judges[judge].verdicts[row] !== "3");
    const badges = element("p", { class: "badges" }, ...asked.flatMap((judge) => [
      // Who says what is refused alone has nothing to say of harm.
      judges[judge].harm || judges[judge].annotator || !judges[judge].refusals ? badge({ run, judge }, row, true) : null,
      refusalBadge(judges[judge], row, true)].filter((one) => one)));
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
      const samples = await Promise.all(runs.map((run) => sample(row, run)));
      box.replaceChildren(...samples.flatMap((sample, at) => answer(sample, runs[at], words, reveal)));
      box.querySelector("h3").tabIndex = -1;
      box.querySelector("h3").focus();
    });
    return box;
  }

  const step = (by) => {
    if (search.rows[opened + by] !== undefined) open(opened + by);
  };
  byId("sample-before").addEventListener("click", () => step(-1));
  byId("sample-after").addEventListener("click", () => step(1));
  byId("sample-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
  dialog.addEventListener("close", async () => {
    byId("sample-content").replaceChildren();
    // Back in the list, at the sample that was looked at last.
    if (Math.floor(opened / PER_PAGE) !== page) await turn(Math.floor(opened / PER_PAGE));
    list.querySelector(`[data-place="${opened}"]`)?.focus();
  });

  // ---------------------------------------------------------------- start

  if (Number(byId("samples").dataset.rows) === 0) {
    byId("samples-none").hidden = false;
  } else {
    byId("browser").hidden = false;
    if (!window.DecompressionStream) {
      byId("found").textContent = "This browser is too old to open the samples (it lacks DecompressionStream).";
    } else {
      content("index").then((read) => {
        index = read;
        prepare();
        find();
      }, (error) => (byId("found").textContent = error.message));
    }
  }
}
