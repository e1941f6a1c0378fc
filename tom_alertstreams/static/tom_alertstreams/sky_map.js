// The sky map: points come projected, in both frames, so that the switch between them asks nobody.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const map = document.getElementById("sky-map");
  const words = document.getElementById("sky-words");
  const frame = document.getElementById("sky-frame");
  const colour = document.getElementById("sky-colour");
  const symbols = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "circle-open"];
  const axes = { equatorial: "Right ascension, declination (ICRS)", galactic: "Galactic longitude, latitude" };
  // Some browsers have no WebGL, or have it switched off.
  const kind = document.createElement("canvas").getContext("webgl") ? "scattergl" : "scatter";
  let sky;

  function traces() {
    const groups = sky.groups;
    const grid = {
      type: kind, mode: "lines", x: sky.graticule.x, y: sky.graticule.y, connectgaps: false, hoverinfo: "skip",
      showlegend: false, line: { color: "rgba(127,127,127,0.6)", width: 1 },
    };
    const points = groups.names.map((name, number) => ({
      type: kind, mode: "markers", name: alertPlots.text(name), x: [], y: [], text: [], customdata: [],
      hoverinfo: "text",
      marker: { size: 6, color: alertPlots.colours[number], symbol: symbols[number] },
    }));
    groups.of.forEach((number, row) => {
      const trace = points[number];
      trace.x.push(sky[frame.value].x[row]);
      trace.y.push(sky[frame.value].y[row]);
      trace.text.push(`${alertPlots.text(sky.object[row])}<br>${sky.time[row]}<br>${trace.name}`);
      trace.customdata.push(sky.target[row]);
    });
    return [grid, ...points.reverse()]; // the most frequent first in the legend, the rarest on top
  }

  function draw() {
    const bare = { visible: false, fixedrange: false };
    const layout = alertPlots.layout(map, {
      height: Math.min(700, map.clientWidth * 0.5 + 100),
      margin: { t: 80, r: 5, b: 5, l: 5 },
      showlegend: true,
      legend: { orientation: "h", traceorder: "reversed", y: 1.02, yanchor: "bottom" },
      hovermode: "closest",
      dragmode: "pan",
      xaxis: { ...bare, range: [-2.9, 2.9] },
      yaxis: { ...bare, range: [-1.5, 1.5], scaleanchor: "x" },
      annotations: sky.graticule.labels.map((label) => ({ ...label, showarrow: false, xshift: 14, yshift: 8 })),
    });
    const config = { ...alertPlots.config, scrollZoom: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
    return Plotly.react(map, traces(), layout, config);
  }

  function say() {
    const count = sky.object.length;
    words.textContent = count
      ? `${count.toLocaleString("en")} alerts. ${axes[frame.value]}.`
      : "No alert with a position has come yet of a Target that you may see.";
  }

  function open(event) {
    const target = event.points[0].customdata;
    if (target) window.location.assign(map.dataset.target.replace(map.dataset.any, target));
  }

  async function load() {
    try {
      const answer = await fetch(`${map.dataset.points}?colour=${colour.value}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      sky = await answer.json();
    } catch (error) {
      words.textContent = `The alerts cannot be read: ${error.message}. Load the page again.`;
      return;
    }
    await draw();
    say();
    if (!map.dataset.drawn) map.on("plotly_click", open); // there is no plot to click on before
    map.dataset.drawn = colour.value;
  }

  colour.addEventListener("change", load);
  frame.addEventListener("change", () => { if (sky) { draw(); say(); } });
  load();
});
