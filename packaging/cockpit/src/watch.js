// Hears when the ring or its log changes on the disk, whoever changed it.

const cockpit = window.cockpit;

/** The files of the state directory that tell of a change. */
const FILES = /\/(ring\.json|audit\.log|refused\.json)$/;
/** A ceremony writes several times: it is one change, once this long nothing more came, in milliseconds. */
const REST = 700;

/** Calls `changed` after a change in `directory`. Gives a function that ends the watch. */
export function watch(directory, changed) {
  let timer;
  const channel = cockpit.channel({ payload: "fswatch1", path: directory, superuser: "require" });
  channel.addEventListener("message", (_event, data) => {
    const { path, event } = JSON.parse(data);
    if (event === "attribute-changed" || !FILES.test(path)) return;
    clearTimeout(timer);
    timer = setTimeout(changed, REST);
  });
  return () => {
    clearTimeout(timer);
    channel.close();
  };
}
