/** @type {Record<string, string>} */
export default {
  // The frame
  "shell.skip": "Skip to the content",
  "shell.navigation": "Pages",
  "shell.calls": "Calls",
  "shell.charts": "Charts",
  "shell.operate": "Operate",
  "shell.workspace": "Workspace",
  "shell.workspace.invalid": "This is not the name of a workspace: 1 to 128 of A-Z a-z 0-9 _ . ~ : @ + = -",
  "shell.language": "Language",
  "shell.language.en": "English",
  "shell.language.de": "Deutsch",
  "shell.theme": "Colors",
  "shell.theme.system": "System",
  "shell.theme.light": "Light",
  "shell.theme.dark": "Dark",
  "shell.sign-out": "Sign out",

  // Shortcuts
  "help.title": "Keyboard shortcuts",
  "help.close": "Close",
  "help.this": "Show this list",
  "help.calls": "Go to the calls",
  "help.charts": "Go to the charts",
  "help.operate": "Go to operate",
  "help.escape": "Leave a field or close a dialog",

  // States
  "state.loading": "Loading …",
  "state.retry": "Try again",
  "state.other-key": "Use another key",
  "state.request-id": "Request",
  "state.network": "No answer",
  "state.network.text": "The server cannot be reached. Check that it runs and that this machine is connected, then try again.",
  "state.defect": "The page failed",
  "state.defect.text": "Reload it. If it fails again, report this text: {message}",
  "state.workspace": "This key belongs to another workspace",
  "state.workspace.text": "It may not open “{workspace}”. Choose its own workspace above, or use another key.",
  "state.forbidden": "The key may not do this",
  "state.forbidden.text": "It lacks the scope {scope}. Ask an operator for a key that has it.",
  "state.busy": "Too many requests",
  "state.busy.text": "The limit of this key is reached. Try again in {seconds} s.",
  "state.server": "The server failed",
  "state.refused": "The server refused this request",

  // Sign-in
  "sign-in.title": "Sign in",
  "sign-in.text": "This server asks for an API key. It stays in this page and is sent to this server only.",
  "sign-in.workspace.title": "Choose a workspace",
  "sign-in.workspace.text": "Each workspace has its own calls.",
  "sign-in.workspace": "Workspace",
  "sign-in.workspace.submit": "Open",
  "sign-in.workspace.invalid": "Write the name of a workspace: 1 to 128 of A-Z a-z 0-9 _ . ~ : @ + = -",
  "sign-in.workspace.forbidden": "This key belongs to another workspace.",
  "sign-in.key": "API key",
  "sign-in.key.missing": "Write an API key: this server requires one.",
  "sign-in.key.invalid": "This is not an API key: it has characters that no key has.",
  "sign-in.key.unknown": "The server does not know this key. Check that it is complete.",
  "sign-in.key.expired": "This key has expired. Ask an operator for a new one.",
  "sign-in.key.revoked": "This key was revoked. Ask an operator for a new one.",
  "sign-in.remember": "Keep the key until this tab is closed",
  "sign-in.remember.text": "Otherwise it is forgotten when the page is reloaded.",
  "sign-in.submit": "Sign in",
  "sign-in.busy": "Checking …",
  "sign-in.create": "An operator makes keys on the server:",

  // Calls (calls.…)

  // One call (call.…)

  // Charts (charts.…)

  // Operate (operate.…)
};
