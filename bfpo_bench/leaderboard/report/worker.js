"use strict";
// Everything that takes time with the samples: opening data files, filtering, searching.
//
// It gets {is: "chunk", name, data}, data null where the file is missing; {is: "find", id, filter};
// {is: "rows", id, rows, run, other}; {is: "sample", id, row, run}.
// It sends {is: "need", name}; {is: "ready", index}; {is: "found", id, rows, looked, of, done};
// and {is: "answer", id, value} or {is: "failed", id, why}.

const AHEAD = 4; // files asked for before they are needed
const OPEN = 24; // opened files kept, about half a megabyte each

const waiting = new Map(); // name → what to call with the data
const closed = new Map(); // name → promise of the compressed bytes
const opened = new Map(); // name → promise of the content, the latest used last
let index = null;
let taskOf = null; // per row
let latest = 0; // id of the search that is asked for now

function decoded(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) found[at] = text.charCodeAt(at);
  return found;
}

function bytes(name) {
  if (!closed.has(name)) {
    closed.set(name, new Promise((resolve, reject) => {
      waiting.set(name, (data) => {
        if (data === null) {
          closed.delete(name);
          reject(new Error(`data/${name}.js cannot be read; was the folder copied whole?`));
        } else resolve(decoded(data));
      });
    }));
    postMessage({ is: "need", name });
  }
  return closed.get(name);
}

function content(name) {
  let found = opened.get(name);
  opened.delete(name);
  found ??= bytes(name).then(async (data) => {
    const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  });
  opened.set(name, found);
  found.catch(() => opened.delete(name));
  if (opened.size > OPEN) opened.delete(opened.keys().next().value);
  return found;
}

const chunkOf = (row) => Math.floor(row / index.per_chunk);
const verdictsOf = (view) => index.runs[view.run].judges[view.judge].verdicts;

/** The rows that pass all but the text. */
function candidates({ a, b, task, category, verdict, difference }) {
  const first = verdictsOf(a);
  const second = b && verdictsOf(b);
  const found = [];
  for (let row = 0; row < first.length; row++) {
    if (first[row] === "4") continue;
    if (task !== null && taskOf[row] !== task) continue;
    if (category !== null && index.category[row] !== category) continue;
    if (verdict !== "" && first[row] !== verdict) continue;
    if (second) {
      if (second[row] === "4") continue;
      const [one, two] = [first[row], second[row]];
      if (difference === "any" && one === two) continue;
      if (difference === "first" && !(one === "1" && two === "0")) continue;
      if (difference === "second" && !(one === "0" && two === "1")) continue;
    }
    found.push(row);
  }
  return found;
}

async function find(id, filter) {
  latest = id;
  const rows = candidates(filter);
  if (!filter.words.length) {
    postMessage({ is: "found", id, rows: Uint32Array.from(rows), looked: rows.length, of: rows.length, done: true });
    return;
  }
  const chunks = new Map();
  for (const row of rows) {
    const chunk = chunkOf(row);
    if (!chunks.has(chunk)) chunks.set(chunk, []);
    chunks.get(chunk).push(row);
  }
  const runs = [...new Set([filter.a.run, ...(filter.b ? [filter.b.run] : [])])];
  const names = (chunk) => [
    ...(filter.where === "response" ? [] : [`questions-${chunk}`]),
    ...(filter.where === "question" ? [] : runs.map((run) => `run-${run}-${chunk}`)),
  ];
  const order = [...chunks.keys()];
  let looked = 0;
  for (const [place, chunk] of order.entries()) {
    for (const later of order.slice(place + 1, place + 1 + AHEAD)) names(later).forEach((name) => bytes(name).catch(() => {}));
    const texts = await Promise.all(names(chunk).map(content));
    if (id !== latest) return;
    const at = chunk * index.per_chunk;
    const found = chunks.get(chunk).filter((row) => {
      // A line feed between prompt and response: no phrase goes over from one into the other.
      const all = texts.map((part, which) => {
        const one = part[row - at];
        return which === 0 && filter.where !== "response" ? `${one[0]}\n${one[2]}` : (one?.[0] ?? "");
      }).join("\n").toLowerCase();
      return filter.words.every((word) => all.includes(word));
    });
    looked += chunks.get(chunk).length;
    postMessage({ is: "found", id, rows: Uint32Array.from(found), looked, of: rows.length, done: place === order.length - 1 });
  }
  if (!order.length) postMessage({ is: "found", id, rows: new Uint32Array(), looked: 0, of: 0, done: true });
}

/** What the list shows of some rows: beginnings of prompt and response. */
function preview({ rows, run }) {
  return Promise.all(rows.map(async (row) => {
    const [questions, answers] = await Promise.all([content(`questions-${chunkOf(row)}`), content(`run-${run}-${chunkOf(row)}`)]);
    const at = row % index.per_chunk;
    return { row, question: (questions[at][2] ?? "").slice(0, 300), response: (answers[at]?.[0] ?? "").slice(0, 300) };
  }));
}

/** One run's answer to one item, with everything that is known of it. */
async function sample({ row, run }) {
  const at = row % index.per_chunk;
  const [questions, answers] = await Promise.all([content(`questions-${chunkOf(row)}`), content(`run-${run}-${chunkOf(row)}`)]);
  const [item, position, question, reference] = questions[at];
  const head = { item, position, question: question ?? "", reference: reference ?? null };
  if (!answers[at]) return { ...head, answer: null };
  const [response, finish, seed, promptTokens, tokens, cutTokens, prompt, raws, own, thought, noAnswer] = answers[at];
  const frame = typeof prompt === "number" ? index.runs[run].frames[prompt] : null;
  const asked = own ?? question;
  return {
    ...head,
    answer: { response, finish, seed, promptTokens, tokens, cutTokens, raws, own, thought, noAnswer, prompt: frame ? frame[0] + asked + frame[1] : prompt },
  };
}

async function answer(id, work) {
  try {
    postMessage({ is: "answer", id, value: await work });
  } catch (error) {
    postMessage({ is: "failed", id, why: String(error?.message ?? error) });
  }
}

onmessage = ({ data }) => {
  if (data.is === "chunk") waiting.get(data.name)?.(data.data);
  else if (data.is === "find") find(data.id, data.filter).catch((error) => postMessage({ is: "failed", id: data.id, why: String(error?.message ?? error) }));
  else if (data.is === "rows") answer(data.id, preview(data));
  else if (data.is === "sample") answer(data.id, sample(data));
};

content("index").then((read) => {
  index = read;
  taskOf = new Uint16Array(index.category.length);
  let from = 0;
  index.tasks.forEach(([, , rows], task) => taskOf.fill(task, from, (from += rows)));
  postMessage({ is: "ready", index });
}).catch((error) => postMessage({ is: "failed", id: 0, why: String(error?.message ?? error) }));
