// Starts the reference page, and shows the code samples of an operation as code.
window.onload = async () => {
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
  const spec = await (await fetch("../openapi.json")).json();
  // The server is where this page is, also under the path prefix of a proxy.
  spec.servers = [{ url: new URL("..", location.href).href.replace(/\/$/, "") }];
  // The page fills in the example of a parameter, and all of them together are not a valid request.
  for (const parameter of Object.values(spec.components.parameters)) {
    if (!parameter.required) delete parameter.example;
  }
  window.ui = SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    deepLinking: true,
    showExtensions: true,
    validatorUrl: null,
    layout: "BaseLayout",
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [samples],
  });
};
