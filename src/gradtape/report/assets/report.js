// gradtape report: draws the charts from the data beside them. No network, no state kept.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");

  // ---- colours of the present theme, and what to draw again when it changes
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const redraws = [];
  const again = () => redraws.forEach((draw) => draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let folds = [];
  addEventListener("beforeprint", () => {
    folds = [...document.querySelectorAll("details:not([open])")];
    folds.forEach((f) => { f.open = true; });
    root.classList.add("printing");
    again();
  });
  addEventListener("afterprint", () => {
    folds.forEach((f) => { f.open = false; });
    root.classList.remove("printing");
    again();
  });

  // ---- numbers as the rest of the page writes them
  const group = (text) => text.replace(/^\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
  const powers = (n) => String(n).replace("-", "\u2212").replace(/./g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻");
  function show(value, digits = 4) {
    if (value == null) return "\u2013";
    if (value === "nan") return "NaN";
    if (value === "inf") return "\u221e";
    if (value === "-inf") return "\u2212\u221e";
    const size = Math.abs(value), minus = value < 0 ? "\u2212" : "";
    if (size === 0) return "0";
    if (size >= 1e7 || size < 1e-3) {
      const [mantissa, exponent] = size.toExponential(Math.min(2, digits - 1)).split("e");
      return `${minus}${mantissa.replace(/\.?0+$/, "")}e${Number(exponent)}`.replace(/-/g, "\u2212");
    }
    const text = Number.isInteger(value) ? String(size) : String(Number(size.toPrecision(digits)));
    return minus + group(text);
  }
  const ten = (value) => { const p = Math.log10(value); return Math.abs(p - Math.round(p)) < 1e-9 ? Math.round(p) : null; };
  function marks(values, log) {
    if (log) {
      const tens = values.filter((v) => v != null && ten(v) !== null);
      if (tens.length < 2) return values.map((v) => (v == null ? "" : show(v, 3)));
      const plain = tens.every((v) => v > 9e-4 && v < 1.1e5);
      return values.map((v) => (!tens.includes(v) ? "" : plain ? show(v) : `10${powers(ten(v))}`));
    }
    const places = Math.max(0, ...values.map((v) => (String(Number(v.toPrecision(8))).split(".")[1] ?? "").length));
    const far = Math.max(...values.map(Math.abs));
    if (far >= 1e6 || (far > 0 && far < 1e-3)) return values.map((v) => show(v, 3));
    return values.map((v) => (v < 0 ? "\u2212" : "") + group(Math.abs(v).toFixed(places)));
  }

  // ---- line charts
  function lines(figure, data) {
    const host = figure.querySelector(".plot"), at = figure.querySelector(".at");
    const keys = [...figure.querySelectorAll(".key")];
    const clean = (column) => (data.log_y ? column.map((v) => (v > 0 ? v : null)) : column);
    const columns = [], series = [{}], bands = [], main = [];
    const faint = data.lines.filter((line) => line.low).length > 4 ? "1a" : "2e";
    data.lines.forEach((line, i) => {
      const ink = () => colour(`--c${i % 10}`);
      const spot = series.length;
      main.push(spot);
      const table = [line.x ?? data.x, clean(line.y)];
      series.push({ stroke: ink, width: 1.75, dash: i >= 10 ? [6, 4] : undefined, points: { size: 5, fill: ink } });
      if (line.low) {
        table.push(clean(line.high), clean(line.low));
        const edge = { stroke: "transparent", width: 0, points: { show: false } };
        series.push({ ...edge }, { ...edge });
        bands.push({ series: [spot + 1, spot + 2], fill: () => ink() + faint });
      }
      columns.push(table);
    });
    const joined = uPlot.join(columns);
    const nearest = (u, s, index) => {
      const column = u.data[s];
      let i = index;
      while (i >= 0 && column[i] === undefined) i--;
      return i >= 0 ? i : index;
    };
    const still = [...keys].map((key) => key.querySelector(".value").textContent); // what a band alone shows
    const read = (u) => {
      const i = u.cursor.idx;
      at.textContent = i == null ? "last values" : `values at ${data.x_label || "x"} ${show(u.data[0][i], 9)}`;
      main.forEach((s, k) => {
        const column = data.lines[k].y;
        const value = i == null ? column[column.length - 1] : u.data[s][nearest(u, s, i)];
        keys[k].querySelector(".value").textContent = value == null && i == null ? still[k] : show(value, Math.abs(value) < 0.1 ? 3 : 4);
      });
    };
    const font = "12px " + getComputedStyle(figure).fontFamily;
    const axis = { stroke: () => colour("--soft"), font, ticks: { show: false }, gap: 6 };
    const decades = (u, vs) => (data.log_y && vs.filter((v) => ten(v) !== null).length > 1 ? vs.map((v) => (ten(v) === null ? null : v)) : vs);
    const grid = { stroke: () => colour("--hair"), width: 1, filter: decades };
    const height = () => Math.round(Math.min(320, Math.max(210, host.clientWidth * 0.52)));
    const chart = new uPlot({
      width: host.clientWidth || 600, height: height(), legend: { show: false }, series, bands, padding: [8, 20, 0, 0],
      focus: { alpha: 0.22 },
      cursor: { y: false, dataIdx: nearest, points: { size: 7, width: 0 }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { distr: data.log_y ? 3 : 1 } },
      axes: [
        { ...axis, size: 26, space: 62, grid: { show: false }, border: { show: true, stroke: () => colour("--rule"), width: 1 },
          values: (u, vs) => marks(vs, false) },
        { ...axis, space: 34, grid, values: (u, vs) => marks(vs, data.log_y),
          size: (u, texts) => {
            const pen = u.ctx;
            pen.save();
            pen.font = `${12 * devicePixelRatio}px sans-serif`;
            const wide = Math.max(0, ...(texts ?? []).map((t) => pen.measureText(t).width)) / devicePixelRatio;
            pen.restore();
            return Math.ceil(wide) + 14;
          } },
      ],
      hooks: { setCursor: [read] },
    }, joined, host);
    read(chart);
    keys.forEach((key, k) => {
      const all = data.lines[k].low ? [main[k], main[k] + 1, main[k] + 2] : [main[k]];
      key.addEventListener("click", () => {
        const on = key.getAttribute("aria-pressed") !== "true";
        key.setAttribute("aria-pressed", String(on));
        all.forEach((s) => chart.setSeries(s, { show: on }));
      });
      const focus = (on) => () => chart.setSeries(on ? main[k] : null, { focus: true });
      key.addEventListener("pointerenter", focus(true));
      key.addEventListener("pointerleave", focus(false));
    });
    const fit = () => chart.setSize({ width: host.clientWidth, height: height() });
    new ResizeObserver(() => { if (host.clientWidth && host.clientWidth !== chart.width) fit(); }).observe(host);
    redraws.push(() => { fit(); chart.redraw(false, true); });
  }

  // ---- heat maps
  function heatmap(figure, data) {
    const canvas = figure.querySelector("canvas"), tip = figure.querySelector(".tip"), pen = canvas.getContext("2d");
    const choice = figure.querySelector("select"), family = getComputedStyle(figure).fontFamily;
    const table = data.colours.map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
    const top = data.log ? Math.log(data.high) : data.high, bottom = data.log ? Math.log(data.low) : data.low;
    const tiny = document.createElement("canvas");
    let map = data.maps[0], box = null, spot = null;

    const elide = (text, room) => {
      if (pen.measureText(text).width <= room) return text;
      for (let n = text.length - 1; n > 2; n--) {
        const short = text.slice(0, Math.ceil(n / 3)) + "…" + text.slice(text.length - Math.floor((2 * n) / 3));
        if (pen.measureText(short).width <= room) return short;
      }
      return "…";
    };
    // names that do not fit lose what they all share: features.3.conv.weight becomes …3.conv
    const distinct = (names) => {
      const parts = names.map((n) => n.split(/(?<=[./])/)), least = Math.min(...parts.map((p) => p.length)) - 1;
      const same = (pick) => parts.every((p) => pick(p) === pick(parts[0]));
      let head = 0, tail = 0;
      while (head < least && same((p) => p[head])) head++;
      while (head + tail < least && same((p) => p[p.length - 1 - tail])) tail++;
      return parts.map((p) => (head ? "…" : "") + p.slice(head, p.length - tail).join("") + (tail ? "…" : ""));
    };
    const hatch = () => {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 6;
      const t = tile.getContext("2d");
      t.fillStyle = colour("--paper"); t.fillRect(0, 0, 6, 6);
      t.strokeStyle = colour("--loud"); t.lineWidth = 2.6;
      for (const d of [-6, 0, 6]) { t.beginPath(); t.moveTo(d - 1, 7); t.lineTo(d + 7, -1); t.stroke(); }
      return pen.createPattern(tile, "repeat");
    };
    function draw() {
      const rows = map.rows.length, cols = map.first.length, width = canvas.clientWidth, dpr = devicePixelRatio || 1;
      if (!width) return;
      const tall = Math.max(7, Math.min(22, Math.floor(420 / rows)));
      const above = tall < 14 ? 6 : 0;  // so that the first name is not cut
      const height = above + tall * rows + 26;
      canvas.width = Math.round(width * dpr); canvas.height = Math.round(height * dpr);
      canvas.style.height = height + "px";
      pen.setTransform(dpr, 0, 0, dpr, 0, above * dpr);
      pen.font = `12px ${family}`; pen.textBaseline = "middle";
      const widest = (list) => Math.max(...list.map((r) => pen.measureText(r).width));
      const room = width * (width < 520 ? 0.4 : 0.3);
      const names = widest(map.rows) > room ? distinct(map.rows) : map.rows;
      const left = Math.ceil(Math.min(widest(names), room)) + 10;
      box = { left, wide: (width - left - 8) / cols, tall, rows, cols, above };
      tiny.width = cols; tiny.height = rows;
      const flat = tiny.getContext("2d", { willReadFrequently: true }), image = flat.createImageData(cols, rows), bad = [];
      flat.fillStyle = colour("--grey"); flat.fillRect(0, 0, 1, 1);
      const zero = flat.getImageData(0, 0, 1, 1).data;
      map.values.forEach((row, y) => row.forEach((value, x) => {
        let rgb = zero;
        if (typeof value === "string") bad.push([x, y, value]);
        else if (!data.log || value > 0) {
          const t = ((data.log ? Math.log(value) : value) - bottom) / (top - bottom);
          rgb = table[Math.max(0, Math.min(table.length - 1, Math.round(t * (table.length - 1))))];
        }
        image.data.set([rgb[0], rgb[1], rgb[2], 255], 4 * (y * cols + x));
      }));
      flat.putImageData(image, 0, 0);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(tiny, left, 0, box.wide * cols, tall * rows);
      const lined = hatch(), loud = colour("--loud");
      for (const [x, y, value] of bad) {
        pen.fillStyle = value === "nan" ? lined : loud;
        pen.fillRect(left + x * box.wide, y * tall, Math.max(3, box.wide + 0.3), tall);
      }
      pen.fillStyle = colour("--paper");
      if (tall >= 10) for (let y = 1; y < rows; y++) pen.fillRect(left, y * tall - 0.5, box.wide * cols, 1);
      pen.fillStyle = colour("--soft"); pen.textAlign = "right";
      const every = Math.ceil(15 / tall);
      names.forEach((name, y) => { if (y % every === 0) pen.fillText(elide(name, left - 10), left - 8, (y + 0.5) * tall); });
      xAxis(rows * tall);
      if (spot) {
        pen.strokeStyle = colour("--ink"); pen.lineWidth = 1.5;
        pen.strokeRect(left + spot.x * box.wide - 0.5, spot.y * tall, Math.max(2, box.wide) + 1, tall);
      }
    }
    function xAxis(y) {
      const low = map.first[0], high = map.last[map.last.length - 1], fit = Math.max(2, Math.floor((box.wide * box.cols) / 70));
      const raw = (high - low) / fit || 1, power = 10 ** Math.floor(Math.log10(raw));
      const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
      pen.textAlign = "center"; pen.strokeStyle = colour("--rule"); pen.lineWidth = 1;
      const whole = map.first.every(Number.isInteger);
      for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) {
        if (whole && !Number.isInteger(Number(v.toFixed(6)))) continue;
        const column = map.last.findIndex((end) => end >= v - step * 1e-6);
        const x = box.left + (column + 0.5) * box.wide, text = show(Number(v.toPrecision(9)));
        const half = pen.measureText(text).width / 2;
        pen.beginPath(); pen.moveTo(x, y + 2); pen.lineTo(x, y + 6); pen.stroke();
        pen.fillText(text, Math.min(x, box.left + box.wide * box.cols + 8 - half), y + 16);
      }
    }
    function point(next) {
      spot = next;
      draw();
      tip.hidden = !spot;
      if (!spot) return;
      const first = map.first[spot.x], last = map.last[spot.x], value = map.values[spot.y][spot.x];
      const when = show(first, 9) + (last === first ? "" : `\u2013${show(last, 9)} (greatest)`);
      tip.replaceChildren(map.rows[spot.y], `, ${data.x_label || "x"} ${when}: `);
      const bold = document.createElement("b");
      bold.textContent = show(value) + (data.unit && typeof value === "number" ? ` ${data.unit}` : "");
      tip.append(bold);
      const x = box.left + (spot.x + 0.5) * box.wide;
      tip.style.left = Math.max(0, Math.min(canvas.clientWidth - tip.offsetWidth, x - tip.offsetWidth / 2)) + "px";
      const over = box.above + spot.y * box.tall - tip.offsetHeight - 8;
      tip.style.top = (over > -28 ? over : box.above + (spot.y + 1) * box.tall + 8) + "px";
    }
    canvas.addEventListener("pointermove", (event) => {
      const x = Math.floor((event.offsetX - box.left) / box.wide), y = Math.floor((event.offsetY - box.above) / box.tall);
      const inside = x >= 0 && y >= 0 && x < box.cols && y < box.rows;
      if (inside ? !spot || spot.x !== x || spot.y !== y : spot) point(inside ? { x, y } : null);
    });
    canvas.addEventListener("pointerleave", () => point(null));
    canvas.addEventListener("blur", () => point(null));
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.key === "Escape") point(null);
      if (!move || !box) return;
      event.preventDefault();
      const old = spot ?? { x: -move[0], y: -move[1] }, hold = (v, n) => Math.max(0, Math.min(n - 1, v));
      point({ x: hold(old.x + move[0], box.cols), y: hold(old.y + move[1], box.rows) });
    });
    choice?.addEventListener("change", () => { map = data.maps[Number(choice.value)]; point(null); });
    new ResizeObserver(draw).observe(canvas.parentElement);
    redraws.push(draw);
    draw();
  }

  const kinds = { lines, heatmap };
  for (const figure of document.querySelectorAll("[data-chart]")) {
    kinds[figure.dataset.chart](figure, JSON.parse(figure.querySelector("script").textContent));
  }

  // ---- contents: mark the section being read
  const links = new Map([...document.querySelectorAll(".toc a")].map((a) => [a.hash.slice(1), a]));
  const sections = [...document.querySelectorAll("main > section")];
  const mark = () => {
    const edge = innerHeight * 0.3;
    let now = sections.filter((s) => s.getBoundingClientRect().top <= edge).pop() ?? sections[0];
    if (scrollY > 0 && innerHeight + scrollY >= document.body.scrollHeight - 2) now = sections[sections.length - 1];
    for (const [id, link] of links) {
      if (id === now.id && !link.hasAttribute("aria-current")) {
        link.setAttribute("aria-current", "true");
        const list = link.closest("ol");
        list.scrollTo({ left: link.parentElement.offsetLeft - list.offsetLeft - 40 });
      } else if (id !== now.id) link.removeAttribute("aria-current");
    }
  };
  if (links.size) { addEventListener("scroll", mark, { passive: true }); addEventListener("resize", mark); mark(); }
})();
