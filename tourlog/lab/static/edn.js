// Colours the EDN of %%datalog cells while it is written, in JupyterLab 4 and Notebook 7, which take all code for
// Python. A federated extension written by hand, so that nothing has to be built: JupyterLab calls `init` with the
// modules it shares, then `get`. The tokens are those of tourlog/html.py; a test holds the two against each other.
(() => {
  const CELL = /^%%datalog\b[^\n]*\n/;
  const TOKEN = new RegExp(
    [
      String.raw`(?<comment>;[^\n]*)`,
      String.raw`(?<string>"(?:[^"\\]|\\.)*"?|'[^'\n]*'|#[a-z]+)`,
      String.raw`(?<keyword>:[^\s,()\[\]{}";]+)`,
      String.raw`(?<variable>[?$%][^\s,()\[\]{}";]*)`,
      String.raw`(?<number>[+-]?\d[^\s,()\[\]{}";]*)`,
      String.raw`(?<function>(?<=\()[^\s,()\[\]{}";?:$%'][^\s,()\[\]{}";]*)`,
    ].join("|"),
    "g",
  );
  const COLOURS = {
    comment: "var(--jp-mirror-editor-comment-color)",
    string: "var(--jp-mirror-editor-string-color)",
    keyword: "var(--jp-mirror-editor-keyword-color)",
    variable: "var(--jp-mirror-editor-variable-2-color)",
    number: "var(--jp-mirror-editor-number-color)",
    function: "var(--jp-mirror-editor-builtin-color)",
    plain: "var(--jp-content-font-color1)",
  };

  // The parts of a cell below its first line: [from, to, kind].
  function parts(text) {
    const head = CELL.exec(text);
    if (head === null) return [];
    const found = [];
    let end = head[0].length;
    TOKEN.lastIndex = end;
    for (let token = TOKEN.exec(text); token !== null; token = TOKEN.exec(text)) {
      if (token.index > end) found.push([end, token.index, "plain"]);
      end = token.index + token[0].length;
      found.push([token.index, end, Object.keys(token.groups).find((kind) => token.groups[kind] !== undefined)]);
    }
    if (end < text.length) found.push([end, text.length, "plain"]);
    return found;
  }

  function colouring({ RangeSetBuilder, Prec }, { Decoration, EditorView, ViewPlugin }) {
    const marks = {};
    const rules = {};
    for (const [kind, color] of Object.entries(COLOURS)) {
      const name = `tourlog-edn-${kind}`;
      marks[kind] = Decoration.mark({ class: name });
      // The spans within are those of the highlighter for Python.
      rules[`.${name}, .${name} *`] = { color: `${color} !important`, fontWeight: "normal !important" };
    }
    function decorated(view) {
      const builder = new RangeSetBuilder();
      for (const [from, to, kind] of parts(view.state.doc.toString())) builder.add(from, to, marks[kind]);
      return builder.finish();
    }
    class Colouring {
      constructor(view) {
        this.decorations = decorated(view);
      }
      update(change) {
        if (change.docChanged) this.decorations = decorated(change.view);
      }
    }
    return [
      Prec.lowest(ViewPlugin.fromClass(Colouring, { decorations: (plugin) => plugin.decorations })),
      EditorView.theme(rules),
    ];
  }

  function isOlder(one, other) {
    const [a, b] = [one, other].map((version) => version.split(".").map((part) => parseInt(part, 10)));
    for (let place = 0; place < 3; place += 1) if (a[place] !== b[place]) return a[place] < b[place];
    return false;
  }

  // The module that JupyterLab itself uses: one that is loaded, else the newest.
  async function shared(scope, name) {
    const versions = scope[name] ?? {};
    const names = Object.keys(versions);
    if (names.length === 0) throw new Error(`tourlog: expected JupyterLab to share ${name}`);
    const best = names.reduce((a, b) => (!versions[a].loaded && (versions[b].loaded || isOlder(a, b)) ? b : a));
    return (await versions[best].get())();
  }

  let modules = null;

  async function extension() {
    const [lab, state, view] = await Promise.all(
      ["@jupyterlab/codemirror", "@codemirror/state", "@codemirror/view"].map((name) => shared(modules, name)),
    );
    const editors = colouring(state, view);
    return () => ({
      id: "tourlog:edn",
      description: "Colours for the EDN of %%datalog cells",
      autoStart: true,
      requires: [lab.IEditorExtensionRegistry],
      activate: (_app, registry) => {
        registry.addExtension({
          name: "tourlog:edn",
          factory: () => lab.EditorExtensionRegistry.createImmutableExtension(editors),
        });
      },
    });
  }

  globalThis._JUPYTERLAB = globalThis._JUPYTERLAB ?? {};
  globalThis._JUPYTERLAB.tourlog = {
    parts, // for its test
    init: (scope) => {
      modules = scope;
    },
    get: async (name) => {
      if (name !== "./extension") throw new Error(`tourlog: expected ./extension, got ${name}`);
      return extension();
    },
  };
})();
