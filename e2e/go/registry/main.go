// A registry of images in memory that asks for a name and a password, if it is given them.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5000", "where to answer")
	user := flag.String("user", "", "who may pull and push; without it everybody")
	password := flag.String("password", "", "of the user")
	flag.Parse()
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	log.Fatal(http.ListenAndServe(*listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, word, _ := r.BasicAuth(); *user == "" || name == *user && word == *password {
			images.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}`)
	})))
}
