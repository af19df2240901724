// Where the samples come from: data files, loaded as scripts on demand (a page opened from the disk
// cannot fetch), and the worker that opens and searches them.

/** Asks the worker; `hear` gets what it says of its own accord: ready, found, failed. */
function openSource(hear) {
  const addresses = (address) => {
    if (/^(data\/[a-z0-9-]+\.js|blob:[^ ]+)$/.test(address)) return address;
    throw new TypeError(`no address of this report: ${address}`);
  };
  // The only policy there is: with it, nothing else can become a script.
  const trusted = window.trustedTypes
    ? window.trustedTypes.createPolicy("report", { createScriptURL: addresses })
    : { createScriptURL: addresses };
  const code = document.getElementById("worker").textContent;
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(trusted.createScriptURL(address));
  const asked = new Map();
  let last = 0;

  // Data files call this.
  window.bfpo = (name, data) => worker.postMessage({ is: "chunk", name, data });

  function load(name) {
    const script = document.createElement("script");
    script.src = trusted.createScriptURL(`data/${name}.js`);
    script.onload = () => script.remove();
    script.onerror = () => {
      script.remove();
      worker.postMessage({ is: "chunk", name, data: null });
    };
    document.head.append(script);
  }

  worker.onmessage = ({ data }) => {
    if (data.is === "need") load(data.name);
    else if (asked.has(data.id)) {
      const [resolve, reject] = asked.get(data.id);
      asked.delete(data.id);
      if (data.is === "answer") resolve(data.value);
      else reject(new Error(data.why));
    } else hear(data);
  };

  return {
    /** Starts a search; the one before is given up. Returns its id. */
    find(filter) {
      worker.postMessage({ is: "find", id: ++last, filter });
      return last;
    },
    /** A promise of the worker's answer to a question ("rows" or "sample"). */
    ask(is, question) {
      return new Promise((resolve, reject) => {
        asked.set(++last, [resolve, reject]);
        worker.postMessage({ is, id: last, ...question });
      });
    },
  };
}
