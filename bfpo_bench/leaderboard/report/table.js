// The table: sorting within its blocks, filtering, and how much of it is shown.

{
  const board = document.getElementById("board");
  const bodies = [...board.tBodies];
  const entries = (body) => [...body.rows].filter((row) => row.classList.contains("entry"));
  const heads = [...board.tHead.rows[1].cells];
  const filter = document.getElementById("board-filter");
  const full = document.getElementById("board-full");
  const intervals = document.getElementById("board-intervals");
  const published = document.getElementById("board-published");
  const count = document.getElementById("board-count");

  const valueOf = (row, column) => {
    const text = row.cells[column].dataset.value;
    return text === undefined ? null : Number(text);
  };

  function sort(column) {
    const head = heads[column];
    const byName = column === 0;
    const first = byName ? "ascending" : "descending";
    const other = byName ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    for (const body of bodies) {
      const rows = entries(body).sort((one, two) => {
        if (byName) return sign * one.dataset.name.localeCompare(two.dataset.name, "en", { numeric: true });
        const [x, y] = [valueOf(one, column), valueOf(two, column)];
        // What is not there stands last, whichever way.
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (x - y);
      });
      body.append(...rows);
    }
  }

  function show() {
    const wanted = filter.value.trim().toLowerCase();
    let [shown, all] = [0, 0];
    for (const body of bodies) {
      const kind = body.dataset.kind !== "published" || published.checked;
      let here = 0;
      for (const row of entries(body)) {
        row.hidden = !kind || !row.dataset.name.toLowerCase().includes(wanted);
        here += !row.hidden;
        all += 1;
      }
      body.hidden = here === 0;
      shown += here;
    }
    board.classList.toggle("short", !full.checked);
    board.classList.toggle("plain-values", !intervals.checked);
    count.textContent = `${shown} of ${all} rows`;
  }

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));
  for (const control of [filter, full, intervals, published]) control.addEventListener("input", show);
  // A link to a note opens the box that the notes are in.
  board.addEventListener("click", (event) => {
    if (event.target.closest("sup a")) document.getElementById("notes").open = true;
  });
  if (!board.querySelector(".interval")) intervals.closest("label").hidden = true;
  if (!bodies.some((body) => body.dataset.kind === "published")) published.closest("label").hidden = true;
  // Where there is little room, the averages go before their intervals.
  intervals.checked = !window.matchMedia("(max-width: 40rem)").matches;
  show();
}
