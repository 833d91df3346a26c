// What this phone remembers, for the page and its service worker alike: who it is, what was
// answered, receipts that could not be sent. A table of names and values in IndexedDB.
"use strict";

const store = (() => {
  let opened = null;

  function open() {
    opened ??= new Promise((resolve, reject) => {
      const asked = indexedDB.open("proximity-client", 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("values");
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    });
    return opened;
  }

  async function run(mode, work) {
    const database = await open();
    return new Promise((resolve, reject) => {
      const transaction = database.transaction("values", mode);
      const asked = work(transaction.objectStore("values"));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  }

  return {
    get: (name) => run("readonly", (values) => values.get(name)),
    set: (name, value) => run("readwrite", (values) => values.put(value, name)),
    // One transaction, so that page and worker never lose what the other one wrote.
    change: (name, changed) =>
      run("readwrite", (values) => {
        const asked = values.get(name);
        asked.onsuccess = () => values.put(changed(asked.result), name);
        return asked;
      }),
  };
})();
