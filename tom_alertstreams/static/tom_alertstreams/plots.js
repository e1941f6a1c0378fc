// What the plots of these pages have in common: colours of the page they are on, and figures that the page holds as JSON.
"use strict";

const alertPlots = {
  // Okabe and Ito (2008), Color Universal Design: told apart by colour-blind readers. Without their black and yellow, of
  // which one is not seen on dark pages and the other not on light ones.
  colours: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#8c6bb1"],

  // Plotly takes texts for HTML of its own kind.
  text(value) {
    return String(value).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  },

  layout(element, more) {
    const ink = getComputedStyle(element).color;
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: ink, activecolor: ink },
      margin: { t: 20, r: 10, b: 50, l: 60 },
      ...more,
    };
  },

  config: { responsive: true, displaylogo: false },

  // Elements that name their figure: <div data-figure="id of a script element with JSON">.
  draw() {
    document.querySelectorAll("[data-figure]").forEach((element) => {
      const source = document.getElementById(element.dataset.figure);
      if (element.alertPlot === source) return;
      element.alertPlot = source;
      const figure = JSON.parse(source.textContent);
      const config = { ...alertPlots.config, displayModeBar: false };
      const lines = { gridcolor: "rgba(127,127,127,0.3)", zerolinecolor: "rgba(127,127,127,0.5)" };
      const axes = { xaxis: { ...lines, ...figure.layout.xaxis }, yaxis: { ...lines, ...figure.layout.yaxis } };
      const edge = { line: { color: getComputedStyle(element).color, width: 0.5 } };
      const data = figure.data.map((trace) => ({ ...trace, marker: { ...trace.marker, ...edge } }));
      Plotly.newPlot(element, data, alertPlots.layout(element, { ...figure.layout, ...axes }), config);
    });
  },
};

document.addEventListener("DOMContentLoaded", alertPlots.draw);
document.addEventListener("htmx:afterSettle", alertPlots.draw);
document.addEventListener("htmx:historyRestore", alertPlots.draw);
