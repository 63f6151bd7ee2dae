"use strict";
// What makes a report answer to pointer and keys. Without it the page shows the same figures, in tables.
const data = JSON.parse(document.getElementById("data").textContent);

// Charts: the values nearest to the pointer, and series that can be hidden.
function shown(number) {
  return Number.isInteger(number) ? String(number) : String(Number(number.toPrecision(5)));
}
for (const [id, chart] of Object.entries(data.charts || {})) {
  const figure = document.getElementById(id);
  const svg = figure.querySelector("svg"), cursor = figure.querySelector(".cursor");
  const readout = figure.querySelector(".readout");
  const hidden = new Set();
  const places = [...new Set(chart.series.flatMap((one) => one.points.map((point) => point[0])))].sort((a, b) => a - b);
  let current = -1;
  function show(index) {
    current = Math.max(0, Math.min(places.length - 1, index));
    const at = places[current];
    const parts = [];
    let value = null;
    chart.series.forEach((one, number) => {
      const point = hidden.has(number) ? undefined : one.points.find((each) => each[0] === at);
      if (point) {
        value = point[2];
        parts.push(`${one.name} ${shown(point[3])}`);
      }
    });
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    readout.textContent = value === null ? "" : `${chart.x} ${shown(value)}: ${parts.join(", ")}`;
  }
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * 400;
    let best = 0;
    places.forEach((place, index) => {
      if (Math.abs(place - at) < Math.abs(places[best] - at)) best = index;
    });
    if (places.length) show(best);
  });
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && places.length) {
      event.preventDefault();
      show(current + step);
    }
  });
  figure.querySelectorAll(".legend button").forEach((button, number) => {
    button.addEventListener("click", () => {
      const off = !hidden.delete(number);
      if (off) hidden.add(number);
      button.setAttribute("aria-pressed", String(!off));
      figure.querySelector(`[data-series="${number}"]`).classList.toggle("off", off);
    });
  });
}

// Tables: a click on a heading sorts, a second one the other way round.
function key(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.key === undefined ? cell.textContent : cell.dataset.key;
  return cell.classList.contains("number") ? Number(text) : text;
}
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const rows = [...table.tBodies[0].rows];
      const numbers = rows.length > 0 && rows[0].cells[column].classList.contains("number");
      const falling = before ? before === "ascending" : numbers;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const sign = falling ? -1 : 1;
      rows.sort((one, other) => {
        const a = key(one, column), b = key(other, column);
        return sign * (numbers ? a - b : a.localeCompare(b));
      });
      table.tBodies[0].append(...rows);
    });
  });
}
const filter = document.getElementById("filter");
if (filter) {
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    for (const row of document.getElementById("class-table").tBodies[0].rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
    }
  });
}

// The confusion matrix: a view (left, top, span) of it in classes, drawn on a canvas.
function matrix(canvas, { names, cells, counts }) {
  const size = names.length;
  const readout = document.getElementById("cell");
  const rows = names.map(() => new Map());
  for (let at = 0; at < cells.length; at += 3) rows[cells[at]].set(cells[at + 1], cells[at + 2]);
  const right = names.map((_, number) => (counts[number] ? (rows[number].get(number) || 0) / counts[number] : 2));
  let order = names.map((_, number) => number), place = order.slice();
  let left = 0, top = 0, span = size;
  const pointers = new Map();
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function sort(by) {
    order = names.map((_, number) => number);
    if (by === "name") order.sort((a, b) => names[a].localeCompare(names[b]));
    if (by === "accuracy") order.sort((a, b) => right[a] - right[b] || a - b);
    order.forEach((number, at) => { place[number] = at; });
  }
  function geometry() {
    const box = canvas.getBoundingClientRect();
    const side = Math.max(50, Math.round(box.width));
    const unit0 = side / span;
    const margin = unit0 >= 9 ? Math.min(side * 0.3, 130) : 0;  // room for names once they can be read
    return { side, margin, unit: (side - margin) / span };
  }
  function clamp() {
    span = Math.max(Math.min(4, size), Math.min(size, span));
    left = Math.max(0, Math.min(size - span, left));
    top = Math.max(0, Math.min(size - span, top));
  }
  function draw() {
    clamp();
    const { side, margin, unit } = geometry();
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.height = side * scale;
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    pen.scale(scale, scale);
    pen.fillStyle = colour("--paper");
    pen.fillRect(0, 0, side, side);
    pen.save();
    pen.beginPath();
    pen.rect(margin, margin, side - margin, side - margin);
    pen.clip();
    for (let row = Math.floor(top); row < Math.min(size, top + span); row++) {
      const label = order[row];
      for (const [predicted, count] of rows[label]) {
        const column = place[predicted];
        if (column + 1 < left || column > left + span) continue;
        const strength = 0.15 + 0.85 * Math.sqrt(count / counts[label]);
        pen.fillStyle = `rgba(${colour(predicted === label ? "--hit" : "--miss")}, ${strength})`;
        const extent = Math.max(unit, 1.2);  // a single video among many is still a dot
        pen.fillRect(margin + (column - left) * unit, margin + (row - top) * unit, extent, extent);
        if (unit >= 26) {
          pen.fillStyle = colour(strength > (dark.matches ? 0.6 : 0.78) ? "--paper" : "--ink");  // what stands out
          pen.font = "11px system-ui, sans-serif";
          pen.textAlign = "center";
          pen.textBaseline = "middle";
          pen.fillText(count, margin + (column - left + 0.5) * unit, margin + (row - top + 0.5) * unit);
        }
      }
    }
    pen.restore();
    if (margin) names_beside(pen, colour("--ink"), margin, unit);
  }
  function names_beside(pen, ink, margin, unit) {
    pen.fillStyle = ink;
    pen.font = `${Math.min(12, Math.max(8, unit * 0.8))}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    const fitting = (text) => {
      let cut = text;
      while (cut.length > 1 && pen.measureText(cut).width > margin - 8) cut = `${cut.replace(/\u2026$/, "").slice(0, -1)}\u2026`;
      return cut;
    };
    for (let at = 0; at < size; at++) {
      const text = fitting(names[order[at]]);
      const y = margin + (at - top + 0.5) * unit, x = margin + (at - left + 0.5) * unit;
      if (at >= top - 0.5 && at < top + span) pen.fillText(text, margin - 4, y);
      if (at >= left - 0.5 && at < left + span) {
        pen.save();
        pen.translate(x, margin - 4);
        pen.rotate(Math.PI / 2);
        pen.fillText(text, 0, 0);
        pen.restore();
      }
    }
  }
  function at(event) {
    const box = canvas.getBoundingClientRect(), { margin, unit } = geometry();
    return {
      column: left + (event.clientX - box.left - margin) / unit,
      row: top + (event.clientY - box.top - margin) / unit,
    };
  }
  function zoom(factor, where) {
    const next = Math.max(Math.min(4, size), Math.min(size, span * factor));
    left = where.column - (where.column - left) * (next / span);
    top = where.row - (where.row - top) * (next / span);
    span = next;
    draw();
  }
  function tell(event) {
    const where = at(event), row = Math.floor(where.row), column = Math.floor(where.column);
    if (row < 0 || column < 0 || row >= size || column >= size) {
      readout.textContent = "";
      return;
    }
    const label = order[row], predicted = order[column], count = rows[label].get(predicted) || 0;
    const verb = label === predicted ? "recognised" : `taken for ${names[predicted]}`;
    readout.textContent = `${names[label]}: ${count} of ${counts[label]} ${verb}`;
  }
  const middle = () => ({ column: left + span / 2, row: top + span / 2 });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    tell(event);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (last) {
      const { unit } = geometry();
      const others = [...pointers.entries()].filter(([id]) => id !== event.pointerId);
      if (others.length === 1) {  // a second finger rests: pinch
        const other = others[0][1];
        const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
        zoom(apart(last) / apart(event), at(other));
      } else {
        left -= (event.clientX - last.clientX) / unit;
        top -= (event.clientY - last.clientY) / unit;
        draw();
      }
      pointers.set(event.pointerId, event);
    }
    tell(event);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, at(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (move) {
      left += (move[0] * span) / 8;
      top += (move[1] * span) / 8;
      draw();
    } else if (event.key === "+" || event.key === "=") zoom(0.7, middle());
    else if (event.key === "-") zoom(1 / 0.7, middle());
    else return;
    event.preventDefault();
  });
  document.getElementById("zoom-in").addEventListener("click", () => zoom(0.5, middle()));
  document.getElementById("zoom-out").addEventListener("click", () => zoom(2, middle()));
  document.getElementById("zoom-all").addEventListener("click", () => zoom(size, middle()));
  document.getElementById("order").addEventListener("change", (event) => { sort(event.target.value); draw(); });
  dark.addEventListener("change", draw);
  new ResizeObserver(draw).observe(canvas);
}
if (data.confusion) matrix(document.getElementById("matrix"), data.confusion);

// Printed, everything is open.
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
