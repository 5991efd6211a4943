// Package forwarded finds the client and its protocol behind trusted proxies.
//
// Anyone can send X-Forwarded-For, so the header counts only where a configured proxy has written it: the client is the
// last address, counted from the connection towards the client, that is not a trusted proxy.
package forwarded
