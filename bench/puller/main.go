// Fetches every tag of a list and every child manifest once per digest, with
// go-containerregistry's Puller: the peer that auditor is measured against.
//
//	puller -jobs 32 < names
//
// A name is HOST/REPOSITORY:TAG. USERNAME and PASSWORD come from the environment.
// It writes no report, so the comparison leaves auditor the extra work.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

type plan struct {
	puller   *remote.Puller
	children sync.Map // digest -> *sync.Once
	fetched  atomic.Int64
	layers   atomic.Int64
}

func (p *plan) image(desc *remote.Descriptor) error {
	image, err := desc.Image()
	if err != nil {
		return err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	p.layers.Add(int64(len(manifest.Layers)))
	return nil
}

func (p *plan) child(ctx context.Context, repository name.Repository, digest v1.Hash) (err error) {
	once, _ := p.children.LoadOrStore(digest.String(), new(sync.Once))
	once.(*sync.Once).Do(func() {
		var desc *remote.Descriptor
		desc, err = p.puller.Get(ctx, repository.Digest(digest.String()))
		if err == nil {
			p.fetched.Add(1)
			err = p.image(desc)
		}
	})
	return err
}

func (p *plan) tag(ctx context.Context, text string) error {
	tag, err := name.NewTag(text, name.Insecure)
	if err != nil {
		return err
	}
	desc, err := p.puller.Get(ctx, tag)
	if err != nil {
		return err
	}
	p.fetched.Add(1)
	if !desc.MediaType.IsIndex() {
		return p.image(desc)
	}
	index, err := desc.ImageIndex()
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, child := range manifest.Manifests {
		if err := p.child(ctx, tag.Context(), child.Digest); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	jobs := flag.Int("jobs", 32, "references at once")
	flag.Parse()
	ctx := context.Background()
	options := []remote.Option{remote.WithJobs(*jobs), remote.WithContext(ctx)}
	if user := os.Getenv("USERNAME"); user != "" {
		options = append(options, remote.WithAuth(
			&authn.Basic{Username: user, Password: os.Getenv("PASSWORD")}))
	}
	puller, err := remote.NewPuller(options...)
	if err != nil {
		log.Fatal(err)
	}
	work := &plan{puller: puller}
	names := make(chan string)
	var running sync.WaitGroup
	for range *jobs {
		running.Add(1)
		go func() {
			defer running.Done()
			for text := range names {
				if err := work.tag(ctx, text); err != nil {
					log.Fatal(err)
				}
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		names <- lines.Text()
	}
	close(names)
	running.Wait()
	fmt.Println(work.fetched.Load(), "manifests,", work.layers.Load(), "layers")
}
