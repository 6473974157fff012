/** @type {Record<string, string>} */
export default {
  // Rahmen
  "shell.skip": "Zum Inhalt springen",
  "shell.navigation": "Seiten",
  "shell.calls": "Anrufe",
  "shell.charts": "Diagramme",
  "shell.operate": "Betrieb",
  "shell.workspace": "Arbeitsbereich",
  "shell.workspace.invalid": "Das ist kein Name eines Arbeitsbereichs: 1 bis 128 von A-Z a-z 0-9 _ . ~ : @ + = -",
  "shell.language": "Sprache",
  "shell.language.en": "English",
  "shell.language.de": "Deutsch",
  "shell.theme": "Farben",
  "shell.theme.system": "System",
  "shell.theme.light": "Hell",
  "shell.theme.dark": "Dunkel",
  "shell.sign-out": "Abmelden",

  // Tasten
  "help.title": "Tastenkürzel",
  "help.close": "Schließen",
  "help.this": "Diese Liste zeigen",
  "help.calls": "Zu den Anrufen",
  "help.charts": "Zu den Diagrammen",
  "help.operate": "Zum Betrieb",
  "help.escape": "Ein Feld verlassen oder einen Dialog schließen",

  // Zustände
  "state.loading": "Wird geladen …",
  "state.retry": "Erneut versuchen",
  "state.other-key": "Anderen Schlüssel verwenden",
  "state.request-id": "Anfrage",
  "state.network": "Keine Antwort",
  "state.network.text": "Der Server ist nicht erreichbar. Prüfen Sie, ob er läuft und ob dieser Rechner verbunden ist, und versuchen Sie es erneut.",
  "state.defect": "Die Seite hat einen Fehler",
  "state.defect.text": "Laden Sie sie neu. Tritt der Fehler wieder auf, melden Sie diesen Text: {message}",
  "state.workspace": "Dieser Schlüssel gehört zu einem anderen Arbeitsbereich",
  "state.workspace.text": "„{workspace}“ darf er nicht öffnen. Wählen Sie oben seinen eigenen Arbeitsbereich, oder verwenden Sie einen anderen Schlüssel.",
  "state.forbidden": "Der Schlüssel darf das nicht",
  "state.forbidden.text": "Ihm fehlt das Recht {scope}. Bitten Sie den Betrieb um einen Schlüssel, der es hat.",
  "state.busy": "Zu viele Anfragen",
  "state.busy.text": "Die Grenze dieses Schlüssels ist erreicht. Versuchen Sie es in {seconds} s erneut.",
  "state.server": "Der Server hat einen Fehler",
  "state.refused": "Der Server hat diese Anfrage abgelehnt",

  // Anmeldung
  "sign-in.title": "Anmelden",
  "sign-in.text": "Dieser Server verlangt einen API-Schlüssel. Er bleibt in dieser Seite und geht nur an diesen Server.",
  "sign-in.workspace.title": "Arbeitsbereich wählen",
  "sign-in.workspace.text": "Jeder Arbeitsbereich hat seine eigenen Anrufe.",
  "sign-in.workspace": "Arbeitsbereich",
  "sign-in.workspace.submit": "Öffnen",
  "sign-in.workspace.invalid": "Schreiben Sie den Namen eines Arbeitsbereichs: 1 bis 128 von A-Z a-z 0-9 _ . ~ : @ + = -",
  "sign-in.workspace.forbidden": "Dieser Schlüssel gehört zu einem anderen Arbeitsbereich.",
  "sign-in.key": "API-Schlüssel",
  "sign-in.key.missing": "Schreiben Sie einen API-Schlüssel: Dieser Server verlangt einen.",
  "sign-in.key.invalid": "Das ist kein API-Schlüssel: Er hat Zeichen, die kein Schlüssel hat.",
  "sign-in.key.unknown": "Der Server kennt diesen Schlüssel nicht. Prüfen Sie, ob er vollständig ist.",
  "sign-in.key.expired": "Dieser Schlüssel ist abgelaufen. Bitten Sie den Betrieb um einen neuen.",
  "sign-in.key.revoked": "Dieser Schlüssel wurde widerrufen. Bitten Sie den Betrieb um einen neuen.",
  "sign-in.remember": "Schlüssel behalten, bis dieser Tab geschlossen wird",
  "sign-in.remember.text": "Sonst wird er vergessen, sobald die Seite neu geladen wird.",
  "sign-in.submit": "Anmelden",
  "sign-in.busy": "Wird geprüft …",
  "sign-in.create": "Schlüssel legt der Betrieb auf dem Server an:",

  // Anrufe (calls.…)

  // Ein Anruf (call.…)

  // Diagramme (charts.…)

  // Betrieb (operate.…)
};
