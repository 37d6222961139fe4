"use strict";
(() => {
  const PAGE_ROWS = 100;
  const byId = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const number = (value) => value.toLocaleString("en-US");
  const collator = new Intl.Collator("en", { numeric: true });
  const humanSize = (size) => {
    if (size === null) return "size unknown";
    const units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let unit = 0;
    let value = size;
    while (value >= 999.95 && unit < units.length - 1) {
      value /= 1000;
      unit += 1;
    }
    return unit === 0 ? `${size} B` : `${value.toFixed(1)} ${units[unit]}`;
  };

  // Colours: those of the system, or the light or dark theme that the user chose.
  const themes = ["system", "light", "dark"];
  const theme = byId("theme");
  const setTheme = (name) => {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.textContent = `Colours: ${name}`;
    theme.dataset.now = name;
  };
  let kept = null;
  try {
    kept = localStorage.getItem("auditor-theme");
  } catch { /* no storage: the choice applies to this visit only */ }
  setTheme(themes.includes(kept) ? kept : "system");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const name = themes[(themes.indexOf(theme.dataset.now) + 1) % themes.length];
    setTheme(name);
    try {
      localStorage.setItem("auditor-theme", name);
    } catch { /* as above */ }
  });

  // Search: every term must match; `repo:`, `platform:` and `is:` match exactly, `since:`
  // and `until:` are dates of creation.
  const matcher = (query) => {
    const terms = query.toLowerCase().split(/\s+/).filter(Boolean).map((term) => {
      const found = /^(repo|platform|is|since|until):(.+)$/.exec(term);
      if (!found) return (row) => row.text.includes(term);
      const [, field, value] = found;
      if (field === "since") return (row) => Boolean(row.created) && row.created >= value;
      if (field === "until") return (row) => Boolean(row.created) && row.created <= value;
      return (row) => (row.facts ? row.facts[field].includes(value) : row.text.includes(term));
    });
    return (row) => terms.every((matches) => matches(row));
  };

  // A row of a table that is part of the HTML.
  const rowOf = (element) => {
    const cells = [...element.cells];
    return {
      text: element.textContent.toLowerCase(),
      group: element.dataset.group,
      key: (column) => {
        const cell = cells[column];
        const raw = cell.dataset.key ?? cell.textContent.trim();
        if (!cell.classList.contains("n") && !/^l\d$/.test(cell.className)) return raw;
        const value = raw === "–" ? 0 : Number.parseFloat(raw.replaceAll(",", ""));
        return Number.isNaN(value) ? null : value;
      },
      element: () => element,
    };
  };

  const STATES = ["signed", "unsigned", "sbom", "no-sbom", "provenance", "no-provenance", "image", "warned"];

  // Where the input names a reference, and its labels.
  const input = JSON.parse(byId("uses").textContent);
  const usesOf = (position) => (input.uses[position] ?? []).map((number) => input.texts[number]);

  // The uses, manifests and layers of a reference, in a row below it.
  const opened = JSON.parse(byId("layers").textContent);
  const detailsOf = (position, isFailure) => {
    const row = make("tr", undefined, { class: "opened" });
    const cell = make("td", undefined, { colspan: "6" });
    const uses = usesOf(position);
    if (uses.length) {
      const list = make("ul", undefined, { class: "uses" });
      list.append(...uses.map((text) => make("li", text)));
      cell.append(make("p", "Used by"), list);
    }
    for (const index of opened.images[position] ?? []) {
      const [platform, sha, size, created, layers] = opened.manifests[index];
      const head = make("p");
      head.append(make("strong", platform || "no platform"), " ", make("code", sha, { class: "sha" }),
        ` ${humanSize(size)}${created ? `, created ${created}` : ""}`);
      const list = make("ol");
      for (const layer of layers ?? []) {
        const [digest, bytes] = opened.layers[layer];
        const item = make("li");
        item.append(make("code", digest), ` ${humanSize(bytes)}`);
        list.append(item);
      }
      cell.append(head, layers ? list : make("p", "Its layers are not in the report.", { class: "faint" }));
    }
    if (!opened.images[position] && !isFailure) {
      cell.append(make("p", "The page has no room for its layers: auditor inspect shows them.", { class: "faint" }));
    }
    row.append(cell);
    return row;
  };
  const opener = (reference, position, isFailure) => {
    const button = make("button", undefined, { type: "button", class: "open", "aria-expanded": "false" });
    button.append(make("code", reference));
    button.addEventListener("click", () => {
      const row = button.closest("tr");
      const isOpen = button.getAttribute("aria-expanded") === "true";
      if (isOpen) row.nextElementSibling.remove();
      else row.after(detailsOf(position, isFailure));
      button.setAttribute("aria-expanded", String(!isOpen));
    });
    return button;
  };

  // A row of the table of references; its element is made when it is shown.
  const rowsOfData = (data) => data.rows.map((one, position) => {
    const [repository, tag, digest, platforms, size, created, state, known] = one;
    const name = data.repositories[repository];
    const names = data.platforms[platforms];
    const sha = digest < 0 ? "" : data.digests[digest];
    const joint = tag.startsWith("sha256:") ? "@" : ":";
    const reference = tag === "" ? name : name + joint + tag;
    const failed = state.startsWith("failed: ");
    const is = failed ? ["failed"] : [];
    is.push(...STATES.filter((word, bit) => known & (1 << bit)));
    if (!failed && !created) is.push("undated");
    return {
      created,
      text: [reference, sha, ...names, state, ...usesOf(position)].join(" ").toLowerCase(),
      facts: { repo: [name.toLowerCase()], platform: names.map((n) => n.toLowerCase()), is },
      key: (column) => [reference, names.length, size, created, sha || null, state || null][column],
      element: () => {
        const row = make("tr");
        const head = make("th", undefined, { scope: "row" });
        head.append(failed && !usesOf(position).length ? make("code", reference) : opener(reference, position, failed));
        const where = make("td");
        if (names.length) {
          const details = make("details");
          details.append(make("summary", number(names.length)));
          const list = make("ul");
          list.append(...names.map((n) => make("li", n)));
          details.append(list);
          where.append(details);
        } else where.append(make("span", "none", { class: "faint" }));
        const digestCell = make("td");
        if (sha) {
          const details = make("details");
          const summary = make("summary");
          summary.append(make("code", sha.slice(0, 19)));
          details.append(summary, make("code", sha, { class: "digest" }));
          digestCell.append(details);
        }
        const stateCell = make("td");
        if (state) stateCell.append(make("span", state, { class: `badge ${failed ? "bad" : "warn"}` }));
        row.append(head, where,
          make("td", failed ? "" : humanSize(size), { class: "n" }),
          make("td", created ?? "", { class: "date" }), digestCell, stateCell);
        return row;
      },
    };
  });

  // Makes a table sortable and searchable. Returns a function that searches it.
  const enhance = (table) => {
    const { what, source } = table.dataset;
    const body = table.tBodies[0];
    const rows = source
      ? rowsOfData(JSON.parse(byId(source).textContent))
      : [...body.rows].map(rowOf);
    let limit = source ? PAGE_ROWS : Infinity;
    let shown = rows;
    let group = null;
    let sortColumn = null;
    let direction = 1;

    const tools = make("div", undefined, { class: "tools", role: "search", "aria-label": what });
    const label = make("label");
    const input = make("input", undefined, {
      type: "search", placeholder: `Search ${what}`, autocomplete: "off", spellcheck: "false",
    });
    label.append(make("span", `Search ${what}`, { class: "hidden" }), input);
    const output = make("output");
    tools.append(label, output);
    table.closest(".scroll").before(tools);
    const more = make("button", undefined, { type: "button", class: "more" });
    if (source) table.after(more);

    const draw = () => {
      body.replaceChildren(...shown.slice(0, limit).map((row) => row.element()));
      const left = Math.max(shown.length - limit, 0);
      more.hidden = left === 0;
      more.textContent = `Show ${number(Math.min(left, 5 * PAGE_ROWS))} more of ${number(left)}`;
      output.textContent = shown.length === rows.length
        ? `${number(rows.length)} ${what}`
        : `${number(shown.length)} of ${number(rows.length)} ${what}`;
    };
    const compare = (one, other) => {
      const [a, b] = [one.key(sortColumn), other.key(sortColumn)];
      if (a === null || b === null) return (a === null) - (b === null);
      return direction * (typeof a === "number" ? a - b : collator.compare(a, b));
    };
    const update = () => {
      const matches = matcher(input.value);
      shown = rows.filter((row) => (group === null || row.group === group) && matches(row));
      if (sortColumn !== null) shown.sort(compare);
      if (source) limit = PAGE_ROWS;
      draw();
    };
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      if (head.classList.contains("wide")) return;
      const button = make("button", head.textContent, { type: "button" });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        // Numbers are sorted largest first.
        const first = head.classList.contains("n") ? -1 : 1;
        direction = sortColumn === column ? -direction : first;
        sortColumn = column;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        update();
      });
    });
    input.addEventListener("input", update);
    more.addEventListener("click", () => {
      const before = limit;
      limit += 5 * PAGE_ROWS;
      draw();
      body.rows[before]?.querySelector("summary")?.focus();
    });
    for (const chip of document.querySelectorAll(`[data-filter="${table.dataset.table}"]`)) {
      chip.addEventListener("click", () => {
        group = group === chip.dataset.group ? null : chip.dataset.group;
        for (const other of document.querySelectorAll(`[data-filter="${table.dataset.table}"]`)) {
          other.setAttribute("aria-pressed", String(other.dataset.group === group));
        }
        update();
      });
    }
    if (source && rows.every((row) => row.key(3) === null)) table.classList.add("undated");
    table.hidden = false;
    if (source) heads[0].querySelector("button").click();
    else update();
    return (query) => {
      input.value = query;
      update();
      input.focus({ preventScroll: true });
      byId(table.dataset.table).scrollIntoView();
    };
  };

  const search = {};
  for (const table of document.querySelectorAll("table[data-table]")) {
    search[table.dataset.table] = enhance(table);
  }

  // Links that search the references: `#find=` and a query.
  const follow = () => {
    if (!location.hash.startsWith("#find=")) return;
    try {
      search.references(decodeURIComponent(location.hash.slice(6)));
    } catch { /* not a link made by this page */ }
  };
  addEventListener("hashchange", follow);
  document.querySelector(".matrix").addEventListener("click", (event) => {
    const cell = event.target.closest("td");
    const link = cell?.parentElement.querySelector("th a");
    if (!link) return;
    const heads = cell.closest("table").tHead.rows[1].cells;
    const { platform } = heads[cell.cellIndex].dataset;
    const more = platform === undefined ? "" : encodeURIComponent(` platform:${platform}`);
    if (location.hash === link.hash + more) follow();
    else location.hash = link.hash + more;
  });
  follow();
})();
