-- One database that does everything. restage.yaml makes two services' databases and a topic of events of it.
CREATE TABLE public.customers (
  id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL, street text, city text, ssn text NOT NULL
);
CREATE TABLE public.orders (
  id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES public.customers ON UPDATE CASCADE ON DELETE CASCADE,
  state text NOT NULL, total numeric(12,2) NOT NULL, lines jsonb NOT NULL
);
CREATE TABLE public.payments (
  id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES public.orders ON DELETE CASCADE, amount numeric(12,2) NOT NULL, iban text NOT NULL
);
CREATE TABLE public.shipments (
  id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES public.orders ON DELETE CASCADE, sent_at timestamptz
);
CREATE TABLE public.outbox (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL, payload jsonb
);
