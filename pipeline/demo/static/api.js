// Requests to the page's own server.

async function result(response) {
  const value = await response.json();
  if (!response.ok) throw new Error(value.error ?? `status ${response.status}`);
  return value;
}

async function answered(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("the page's server does not answer; start `mnist-tfx demo` again.");
  }
}

export async function get(path) {
  return result(await answered(path));
}

export async function post(path, body) {
  return result(await answered(path, { method: "POST", body }));
}

export async function picture(path) {
  const response = await answered(path);
  if (!response.ok) return result(response);
  return createImageBitmap(await response.blob());
}

export function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
