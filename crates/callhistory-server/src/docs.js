// Starts the reference page, and shows the code samples of an operation as code.
window.onload = () => {
  const samples = ({ React }) => ({
    components: {
      OperationExt: ({ extensions }) => {
        const shown = extensions.get("x-codeSamples");
        if (!shown) return null;
        return React.createElement("div", { className: "opblock-section" },
          shown.toJS().flatMap(({ label, source }) => [
            React.createElement("div", { className: "opblock-section-header", key: label },
              React.createElement("h4", null, label)),
            React.createElement("div", { className: "opblock-description-wrapper", key: `${label} source` },
              React.createElement("pre", { className: "microlight" }, source)),
          ]));
      },
    },
  });
  window.ui = SwaggerUIBundle({
    url: "../openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    showExtensions: true,
    validatorUrl: null,
    layout: "BaseLayout",
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [samples],
  });
};
