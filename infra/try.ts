import { Infrastructure } from '#infra/infrastructure.ts';
import { exitOnSignals } from '#infra/processes.ts';
exitOnSignals();
const t=Date.now();
const i = await Infrastructure.open({ say: (l) => console.log(l), durable: false });
const [k,a,b] = await Promise.all([i.startKafka(), i.startPostgres({name:'pg15',from:'machine'}), i.startPostgres({name:'pg18',from:'embedded'})]);
console.log(k,a,b, Date.now()-t);
if (process.argv[2]==='hold') { console.log('holding'); setInterval(()=>{},1000); await new Promise(()=>{}); }
await i.stop(); console.log('stopped', Date.now()-t);
