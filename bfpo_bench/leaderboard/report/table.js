// The table: sorting, filtering, and which values are best among the rows that are shown.

{
  const board = document.getElementById("board");
  const body = board.tBodies[0];
  const heads = [...board.tHead.rows[1].cells];
  const groups = [...board.tHead.rows[0].cells].slice(1);
  const widths = groups.map((cell) => cell.colSpan);
  const filter = document.getElementById("board-filter");
  const full = document.getElementById("board-full");
  const intervals = document.getElementById("board-intervals");
  const published = document.getElementById("board-published");
  const count = document.getElementById("board-count");

  const valueOf = (row, column) => {
    const text = row.cells[column].dataset.value;
    return text === undefined ? null : Number(text);
  };
  // The larger, the better.
  const goodness = (value, direction) =>
    direction === "nearer-50" ? -Math.abs(value - 50) : direction === "lower" ? -value : value;

  function sort(column) {
    const head = heads[column];
    const byName = column === 0;
    const first = byName ? "ascending" : "descending";
    const other = byName ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((one, two) => {
      const faults = ("fault" in one.dataset) - ("fault" in two.dataset);
      if (faults) return faults;
      if (byName) return sign * one.dataset.name.localeCompare(two.dataset.name, "en", { numeric: true });
      const [x, y] = [valueOf(one, column), valueOf(two, column)];
      // What is not there stands last, whichever way.
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (x - y);
    });
    body.append(...rows);
  }

  // The best and the second of each block: as ranking.py says it, among the rows that are shown.
  function mark() {
    for (const cell of body.querySelectorAll(".best, .second")) cell.classList.remove("best", "second");
    const rows = [...body.rows].filter((row) => !row.hidden && !("fault" in row.dataset));
    const blocks = grouped(rows, (row) => row.dataset.block);
    heads.forEach((head, column) => {
      for (const block of blocks.values()) {
        const cells = block.map((row) => row.cells[column]).filter(({ dataset }) => dataset.value !== undefined);
        const alike = [...grouped(cells, ({ dataset }) => dataset.protocol).values()];
        alike.sort((x, y) => y.length - x.length);
        // Only numbers of the protocol that most rows have can be ranked.
        if (!alike.length || (alike[1] ?? []).length === alike[0].length) continue;
        // As printed: equal figures share a place.
        const good = (cell) =>
          Number(goodness(Number(cell.querySelector(".value").textContent), head.dataset.direction).toFixed(2));
        const places = [...new Set(alike[0].map(good))].sort((x, y) => y - x);
        if (places.length < 2) continue;
        for (const cell of alike[0]) {
          const place = places.indexOf(good(cell));
          if (place < 2) cell.classList.add(place === 0 ? "best" : "second");
        }
      }
    });
  }

  function show() {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      const kind = row.dataset.kind !== "published" || published.checked;
      row.hidden = !kind || !row.dataset.name.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    board.classList.toggle("short", !full.checked);
    board.classList.toggle("plain-values", !intervals.checked);
    let at = 1;
    groups.forEach((group, index) => {
      const columns = heads.slice(at, at + widths[index]);
      at += widths[index];
      const left = columns.filter((head) => full.checked || !head.classList.contains("task")).length;
      group.hidden = left === 0;
      group.className = "";
      group.colSpan = Math.max(left, 1);
    });
    count.textContent = `${shown} of ${body.rows.length} rows`;
    mark();
  }

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));
  for (const control of [filter, full, intervals, published]) control.addEventListener("input", show);
  const last = heads.findIndex((head) => head.dataset.key === "savg");
  if (last > 0) heads[last].setAttribute("aria-sort", "descending");
  // A link to a note opens the box that the notes are in.
  board.addEventListener("click", (event) => {
    if (event.target.closest("sup a")) document.getElementById("notes").open = true;
  });
  if (!board.querySelector(".interval")) intervals.closest("label").hidden = true;
  if (!body.querySelector('[data-kind="published"]')) published.closest("label").hidden = true;
  show();
}
