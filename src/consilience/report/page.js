"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const run = read("run-data");
  const specs = read("chart-specs");
  const selects = [...document.querySelectorAll("select[data-choice]")];
  const chips = [...document.querySelectorAll("button[data-snr]")];
  const views = {};
  let current = run.selections[run.first];
  let pinned = null;
  let focus = null;

  // Tables travel as columns; Vega wants rows.
  const rows = (columns) => {
    const names = Object.keys(columns);
    return columns[names[0]].map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
  };

  const tables = (selection) => {
    const place = run.places[selection.place];
    return {
      alignment: selection.alignment, generalization: selection.generalization, theory: selection.theory,
      trajectory: selection.trajectory, errors: place.errors, thresholds: place.thresholds,
      variants: run.variants,
    };
  };

  // Only what a chart reads; the names of its data sets are in its specification.
  const namesOf = (spec) => new Set([spec, ...(spec.layer ?? [])].map((part) => part.data?.name).filter(Boolean));

  const settings = () => ({ score: current.score, distance: current.distance, focus });

  const fill = (name) => {
    const view = views[name];
    const all = tables(current);
    for (const table of namesOf(specs[name])) view.data(table, rows(all[table]));
    for (const [signal, value] of Object.entries(settings())) view.signal(signal, value);
    return view.runAsync();
  };

  const setFocus = (snr) => {
    if (snr === focus) return;
    focus = snr;
    for (const view of Object.values(views)) view.signal("focus", snr).runAsync();
  };

  const escape = (value) => String(value).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  const absent = new Set(["null", "NaN", "undefined", ""]);
  const tooltip = (value) => {
    const entries = Object.entries(value).filter(([, text]) => !absent.has(String(text)));
    return `<dl>${entries.map(([name, text]) => `<dt>${escape(name)}</dt><dd>${escape(text)}</dd>`).join("")}</dl>`;
  };

  const theoryShown = () => {
    if (!specs.theory) return;
    const known = current.theory.snr_text.length > 0;
    document.getElementById("theory-figure").hidden = !known;
    document.getElementById("no-theory").hidden = known;
  };

  // Not every measure applies to every layer: keep what was just chosen and as much of the rest as possible.
  const nearest = (wanted, changed) => {
    const score = (selection) =>
      selection.choice.reduce((sum, value, i) => sum + (value === wanted[i]) * (i === changed ? 100 : 1), 0);
    return run.selections.reduce((best, item) => (score(item) > score(best) ? item : best));
  };

  // Only what has scores is offered: an option says what else it changes.
  const offer = (select, i) => {
    const values = [...new Set(run.selections.map((selection) => selection.choice[i]))];
    const options = values.map((value) => {
      const target = nearest(current.choice.map((kept, j) => (j === i ? value : kept)), i);
      const moved = target.choice.filter((other, j) => j !== i && other !== current.choice[j]);
      return new Option(moved.length ? `${value} → ${moved.join(", ")}` : value, value);
    });
    select.replaceChildren(...options);
    select.disabled = values.length < 2;
    select.value = current.choice[i];
  };

  const element = (tag, text, name = "") => Object.assign(document.createElement(tag), { textContent: text, className: name });

  const verdict = ({ claim, verdict, title, sentence }) => {
    const item = document.createElement("li");
    const heading = document.createElement("p");
    heading.append(element("strong", claim), " ", element("span", verdict, `outcome ${verdict}`), ` ${title}`);
    item.append(heading, element("p", sentence));
    return item;
  };

  const show = (selection) => {
    current = selection;
    selects.forEach(offer);
    document.getElementById("verdicts").replaceChildren(...selection.verdicts.map(verdict));
    document.getElementById("seen").replaceChildren(
      ...selection.sentences.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
    );
    theoryShown();
    const wanted = Object.keys(specs).filter((name) => name !== "theory" || current.theory.snr_text.length);
    return Promise.all(wanted.map((name) => (views[name] ? fill(name) : draw(name))));
  };

  selects.forEach((select, i) => {
    select.addEventListener("change", () => show(nearest(selects.map((item) => item.value), i)));
  });

  for (const chip of chips) {
    chip.addEventListener("click", () => {
      pinned = pinned === chip.dataset.snr ? null : chip.dataset.snr;
      for (const other of chips) other.setAttribute("aria-pressed", String(other.dataset.snr === pinned));
      setFocus(pinned);
    });
  }

  // Layers without rows (no theory, no threshold) are expected, so only errors are worth the console.
  const ERRORS = 1;

  const draw = async (name) => {
    const all = tables(current);
    const spec = {
      ...specs[name],
      datasets: Object.fromEntries([...namesOf(specs[name])].map((table) => [table, rows(all[table])])),
      params: specs[name].params.map((param) => ({ ...param, value: settings()[param.name] ?? param.value })),
    };
    const { view } = await window.vegaEmbed(`#${name}`, spec, {
      renderer: "svg", actions: false, logLevel: ERRORS,
      tooltip: { formatTooltip: tooltip, offsetX: 14, offsetY: 14 },
    });
    views[name] = view;
    view.addEventListener("pointerover", (_, item) => {
      const marked = item && ["symbol", "line", "rule"].includes(item.mark.marktype) && item.datum?.snr_text;
      if (marked) setFocus(item.datum.snr_text);
    });
    view.addEventListener("pointerout", () => setFocus(pinned));
  };

  show(current).then(() => { document.documentElement.dataset.ready = "true"; });
  for (const event of ["beforeprint", "afterprint"]) {
    window.addEventListener(event, () => window.dispatchEvent(new Event("resize")));
  }
})();
