package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/clockd/clockd/order/abcast"
	"github.com/clockd/clockd/reason"
)

// server answers clients of one member.
type server struct {
	id    abcast.ID
	group *abcast.Group
	store *store
}

func newServer(id abcast.ID, s *store) *server { return &server{id: id, store: s} }

// maxValue is the longest value in bytes.
const maxValue = 512 << 10

// serve serves until ctx ends or the group stops.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	applying := make(chan struct{})
	go func() {
		defer close(applying)
		for d := range s.group.Deliveries(context.WithoutCancel(ctx)) {
			if d.Kind == abcast.Message {
				s.store.apply(d, d.Origin.ID == s.id && d.Origin == s.group.Member())
			}
		}
	}()
	h := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	case <-s.group.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := h.Shutdown(ending)
	if errors.Is(err, context.DeadlineExceeded) {
		err = h.Close()
	}
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func (s *server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /kv/{key...}", s.get)
	m.HandleFunc("PUT /kv/{key...}", func(w http.ResponseWriter, r *http.Request) { s.change(w, r, "put") })
	m.HandleFunc("DELETE /kv/{key...}", func(w http.ResponseWriter, r *http.Request) { s.change(w, r, "delete") })
	m.HandleFunc("POST /kv/{key...}", func(w http.ResponseWriter, r *http.Request) { s.change(w, r, "cas") })
	m.HandleFunc("GET /status", s.status)
	m.HandleFunc("POST /members", s.member)
	return m
}

func (s *server) get(w http.ResponseWriter, r *http.Request) {
	if err := s.group.Read(r.Context()); err != nil {
		answer(w, err)
		return
	}
	value, ok := s.store.get(r.PathValue("key"))
	if !ok {
		http.Error(w, "there is no such key", http.StatusNotFound)
		return
	}
	_, _ = io.WriteString(w, value)
}

func (s *server) change(w http.ResponseWriter, r *http.Request, op string) {
	c := command{Op: op, Key: r.PathValue("key"), Old: r.URL.Query().Get("old")}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	c.Value = string(body)
	number, done := s.store.expect()
	defer s.store.forget(number)
	c.Number = number
	payload, err := json.Marshal(c)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := s.group.Broadcast(r.Context(), payload); err != nil {
		answer(w, err)
		return
	}
	select {
	case o := <-done:
		if !o.done {
			http.Error(w, "there was another value, or none", http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
		answer(w, errors.Join(reason.BroadcastMaybe, r.Context().Err()))
	case <-s.group.Done():
		answer(w, errors.Join(reason.BroadcastMaybe, s.group.Err()))
	}
}

// answer tells a client what went wrong: 503 if nothing was done or will be, 504 if it may still happen.
func answer(w http.ResponseWriter, err error) {
	code := http.StatusServiceUnavailable
	if errors.Is(err, reason.BroadcastMaybe) || errors.Is(err, abcast.ErrPlaceUnknown) {
		code = http.StatusGatewayTimeout
	}
	http.Error(w, err.Error(), code)
}

// report is what status prints.
type report struct {
	Member     string            `json:"member"`
	View       uint64            `json:"view"`
	Members    []string          `json:"view_members"`
	InView     bool              `json:"in_view"`
	Group      map[uint64]string `json:"group"`
	Index      uint64            `json:"index"` // of the last command that is applied
	Chain      string            `json:"chain"` // a hash of all up to it
	LatencyP50 float64           `json:"latency_p50_s"`
	LatencyP99 float64           `json:"latency_p99_s"`
	LatencyMax float64           `json:"latency_max_s"`
	Broadcasts uint64            `json:"broadcasts"`
	Delivered  uint64            `json:"delivered"`
	Views      uint64            `json:"view_changes"`
	LogBytes   int64             `json:"log_bytes"`
	Refused    map[string]uint64 `json:"refused"`
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) {
	m := s.group.Metrics()
	r := report{Member: m.Member.String(), View: uint64(m.View.ID), InView: m.InView, Group: map[uint64]string{}, LatencyP50: m.Latency.P50.Seconds(),
		LatencyP99: m.Latency.P99.Seconds(), LatencyMax: m.Latency.Max.Seconds(), Broadcasts: m.Broadcast, Delivered: m.Delivered, Views: m.ViewChanges,
		LogBytes: m.LogBytes, Refused: m.Transport.Refused.Map()}
	for _, x := range m.View.Members {
		r.Members = append(r.Members, x.String())
	}
	for id, address := range s.group.Members() {
		r.Group[uint64(id)] = address
	}
	r.Index, r.Chain = s.store.chain()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(r)
}

// member changes the group: POST /members?add=ID&address=HOST:PORT or /members?remove=ID.
func (s *server) member(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var err error
	if id, e := strconv.ParseUint(q.Get("add"), 10, 64); e == nil {
		err = s.group.AddMember(r.Context(), abcast.ID(id), q.Get("address"))
	} else if id, e := strconv.ParseUint(q.Get("remove"), 10, 64); e == nil {
		err = s.group.RemoveMember(r.Context(), abcast.ID(id))
	} else {
		http.Error(w, "add=ID&address=HOST:PORT or remove=ID", http.StatusBadRequest)
		return
	}
	if err != nil {
		answer(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
